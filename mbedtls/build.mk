# Compiles the Mbed TLS in SRC into OUT/libmbedtls.a, with FLAGS. Called by
# ../Makefile once SRC is there, so that its sources can be listed.

# The version is written as 0x03060700. Below these, certificates and handshakes
# have known holes, and 4.0.0 gives a forked process its parent's random numbers
# (CVE-2026-25835): MBEDTLS_ANY=yes takes such a one, for tests.
HAVE  := $(shell sed -n 's/^.define MBEDTLS_VERSION_NUMBER *//p' \
           $(SRC)/include/mbedtls/build_info.h 2>/dev/null)
LEAST := $(if $(MBEDTLS_ANY),0x03060000 0x04000000,0x03060700 0x04010100)
ifneq ($(shell v=$$(($(HAVE)+0)); \
           echo $$((v >= $(word 1,$(LEAST)) && v < 0x04000000 || \
                    v >= $(word 2,$(LEAST)) && v < 0x05000000))),1)
$(error $(SRC) is no Mbed TLS 3.6.7 or later 3.6, or 4.1.1 or later 4: get \
such a release, unpack it and run: make MBEDTLS_DIR=its/path)
endif
ifeq ($(filter 0x03%,$(HAVE))$(wildcard $(SRC)/tf-psa-crypto/core/*.c),)
$(error $(SRC) has no tf-psa-crypto, which a release of Mbed TLS 4 has)
endif

# Mbed TLS 4 keeps its cryptography in tf-psa-crypto, in several folders.
# Everest is the X25519 of crypto_config.h; its other files are for other
# compilers.
IN      = $(wildcard $(addprefix $(SRC)/,$(1)))
CRYPTO := $(call IN,$(addprefix tf-psa-crypto/,core dispatch extras platform \
            utilities drivers/builtin/src))
DIRS   := mbedtls $(SRC)/library $(CRYPTO)
EVEREST := $(call IN,3rdparty/everest tf-psa-crypto/drivers/everest)
INSIDE := $(wildcard $(EVEREST)/include/everest \
            $(EVEREST)/include/tf-psa-crypto/private/everest)

# Some of ours include the files of Mbed TLS whose place they take; musl.c is for
# another library.
SOURCES := $(filter-out gcm.c psa_crypto_ecp.c sha256.c musl.c, \
             $(notdir $(wildcard $(addsuffix /*.c,$(DIRS))))) \
           everest.c x25519.c
OBJECTS := $(SOURCES:%.c=$(OUT)/%.o)
INCLUDE := -I. -DMBEDTLS_CONFIG_FILE='"mbedtls/config.h"' \
           -DTF_PSA_CRYPTO_CONFIG_FILE='"mbedtls/crypto_config.h"' \
           $(addprefix -I,$(DIRS) $(EVEREST)/include $(INSIDE) \
             $(INSIDE)/kremlib $(EVEREST)/library $(call IN,include \
               tf-psa-crypto/include tf-psa-crypto/drivers/builtin/include))

# Debian mends some things by flags.
DEBIAN := $(filter -D%,$(shell sed -n \
            's/^export DEB_CFLAGS_MAINT_APPEND *= *//p' \
            $(SRC)/debian/rules 2>/dev/null))
CALL    = $(CC) $(FLAGS) $(DEBIAN)

vpath %.c $(DIRS) $(EVEREST)/library

$(OUT)/libmbedtls.a: $(OBJECTS)
	@rm -f $@
	$(AR) rcs $@ $(OBJECTS)

# TLS reads certificates, and servers write messages, by tls_alt.c.
$(OUT)/ssl_tls.o $(OUT)/ssl_tls13_generic.o: \
    MORE = -Dmbedtls_x509_crt_parse_der=tls_alt_parse_der
$(addprefix $(OUT)/,ssl_tls.o ssl_tls12_server.o ssl_tls13_generic.o \
  ssl_tls13_server.o): \
    MORE += -Dmbedtls_ssl_write_handshake_msg_ext=tls_alt_write_msg \
            -Dmbedtls_ssl_finish_handshake_msg=tls_alt_finish_msg

# A ticket for longer than a week is no error.
$(OUT)/ssl_tls13_client.o: MORE = -include mbedtls/tls13_client.h

# Elliptic curves get their inverses by inverse_alt.c.
$(OUT)/ecp.o $(OUT)/ecdsa.o: MORE = -Dmbedtls_mpi_gcd_modinv_odd=inverse_alt

# Nobody asks what an OID means in words.
$(OUT)/oid.o: MORE = $(if $(findstring MITM_SMALL,$(FLAGS)), \
                   -DMBEDTLS_X509_REMOVE_INFO)

# TLS of Mbed TLS 4 encrypts records by record_keys.c.
ifeq ($(filter 0x03%,$(HAVE)),)
$(addprefix $(OUT)/,ssl_msg.o ssl_tls.o ssl_tls13_keys.o): \
    MORE += $(foreach f,import_key destroy_key aead_encrypt aead_decrypt, \
              -Dpsa_$(f)=record_$(f))
endif

# Its loops over limbs want to be unrolled and not vectorized: so gcc makes it
# twice as fast as at -O2.
$(OUT)/curve25519.o: MORE = $(if $(findstring -Os,$(FLAGS)),, \
                                        -O3 -fno-tree-vectorize)

$(OUT)/%.o: %.c mbedtls/build.mk $(wildcard mbedtls/*.h) $(OUT)/flags
	@echo "  $(CC) $(<F)"
	@$(CALL) $(INCLUDE) $(MORE) -c -o $@ $<

# Other flags, another compiler, SRC or version compile everything anew.
$(OUT)/flags: FORCE
	@mkdir -p $(OUT)
	@printf '%s\n' '$(CALL) $(SRC) $(HAVE)' | cmp -s - $@ || \
	printf '%s\n' '$(CALL) $(SRC) $(HAVE)' > $@

FORCE:
