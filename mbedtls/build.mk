# Compiles the Mbed TLS in SRC into OUT/libmbedtls.a, with FLAGS. Called by
# ../Makefile once SRC is there, so that its sources can be listed.

# The version is written as 0x03060700.
HAVE := $(shell sed -n 's/^.define MBEDTLS_VERSION_NUMBER *//p' \
          $(SRC)/include/mbedtls/build_info.h 2>/dev/null)
ifneq ($(shell echo $$(($(HAVE)+0 >= 0x03060700 && $(HAVE)+0 < 0x04000000))),1)
$(error $(SRC) is no Mbed TLS 3.6.7 or later 3.6: get such a release, unpack \
it and run: make MBEDTLS_DIR=its/path)
endif

# Everest is the X25519 of config.h; its other files are for other compilers.
EVEREST := $(SRC)/3rdparty/everest
SOURCES := $(wildcard $(SRC)/library/*.c mbedtls/*.c) \
           $(addprefix $(EVEREST)/library/, \
             everest.c x25519.c Hacl_Curve25519_joined.c)
OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(notdir $(SOURCES)))
INCLUDE := -I. -Imbedtls -DMBEDTLS_CONFIG_FILE='"mbedtls/config.h"' \
           $(addprefix -I,$(SRC)/include $(SRC)/library $(EVEREST)/include \
             $(EVEREST)/include/everest $(EVEREST)/include/everest/kremlib)

vpath %.c mbedtls $(SRC)/library $(EVEREST)/library

$(OUT)/libmbedtls.a: $(OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $(OBJECTS)

# PSA's multiplications go to x25519_alt.c. Everest's loops of five want to be
# unrolled and not vectorized: so gcc makes it 2.6 times faster than at -O2.
$(OUT)/psa_crypto_ecp.o: MORE = -Dmbedtls_ecp_mul=x25519_alt_mul
$(OUT)/Hacl_Curve25519_joined.o: MORE = $(if $(findstring -Os,$(FLAGS)),, \
                                        -O3 -fno-tree-vectorize)

$(OUT)/%.o: %.c mbedtls/build.mk $(wildcard mbedtls/*.h) $(OUT)/flags
	@echo "  $(CC) $(<F)"
	@$(CC) $(FLAGS) $(INCLUDE) $(MORE) -c -o $@ $<

# Other flags, another compiler or another SRC compile everything anew.
$(OUT)/flags: FORCE
	@mkdir -p $(OUT)
	@printf '%s\n' '$(CC) $(FLAGS) $(SRC)' | cmp -s - $@ || \
	printf '%s\n' '$(CC) $(FLAGS) $(SRC)' > $@

FORCE:
