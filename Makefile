# mitmproxy.c: see README.md. For GNU make.
#
#   make            ./mitmproxy
#   make demo       a page fetched through it, before and after
#   make play       a server and a proxy to play with, until ^C
#   make lab        servers for lab/README.md, a lesson of two hours
#   make test       the unit and behaviour tests
#   make asan       the same tests with the address and undefined sanitizers
#   make fuzz       random inputs for its parts, FUZZ_SECONDS each (clang)
#   make test-cross the tests on other processors, by qemu; CROSS="mips musl"
#   make soak       mixed work for half an hour, and whether memory grows
#   make bench      what it costs, beside the peers that are installed
#   make static     build/static/mitmproxy, one small file that needs no other
#   make install    PREFIX=/usr/local DESTDIR= PROGRAM=mitmproxy
#   make deb        a Debian package, mitmproxy.c
#   make clean      leaves the fetched source; distclean does not
#
# Mbed TLS comes from Debian's mirrors by apt (mbedtls/fetch). Elsewhere:
#   make MBEDTLS_DIR=PATH   an unpacked release: 3.6.7 or a later 3.6, 4.1.1 or
#                           a later 4.1 or 4.2 (with its tf-psa-crypto)
#   make MBEDTLS=system     the system's own library, by pkg-config
#   make MBEDTLS_CFLAGS=-O2 for x86 processors from before 2009, too

# All cores, unless the caller (a make above us, too) chose a number.
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 2)
endif
.DELETE_ON_ERROR:

PREFIX = /usr/local
SMALL  = build/static
CFLAGS ?= -O2 -g

# These the program always gets; CFLAGS, CPPFLAGS and LDFLAGS follow them, also
# from the environment, where a package's build has them.
WARN   = -std=c11 -Wall -Wextra -Wpedantic
HARDEN = $(WIDE) -fPIE -fstack-protector-strong $(if $(findstring \
         _FORTIFY_SOURCE,$(CPPFLAGS) $(CFLAGS)),, \
         -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
LINK   = -pie -Wl,-z,relro,-z,now
ASAN   = $(WIDE) -O1 -g -fPIE -fno-omit-frame-pointer \
         -fsanitize=address,undefined -fno-sanitize=pointer-overflow \
         -fno-sanitize-recover=all
FUZZ   = $(ASAN) -fsanitize=address

# Files over 2 GiB, and times after 2038, on 32-bit systems as well; Mbed TLS
# must agree about times.
WIDE   = -D_FILE_OFFSET_BITS=64 $(if $(filter system,$(MBEDTLS)),, \
         -D_TIME_BITS=64)

.PHONY: all demo play lab test test-cross asan fuzz soak bench static install \
        deb clean distclean FORCE
all: mitmproxy

# ---- Mbed TLS --------------------------------------------------------------

ifeq ($(MBEDTLS),system)

# 3.6.6 and 4.1.0, with what distributions mend in them, do as well.
ifeq ($(shell pkg-config --exists 'mbedtls >= 3.6.6 mbedtls < 4' && echo y; \
              pkg-config --exists 'mbedtls >= 4.1.0 mbedtls < 5' && echo y),)
$(error pkg-config knows no Mbed TLS 3.6.6 or later 3.6, nor 4.1: run make \
without MBEDTLS=system, or with MBEDTLS_DIR=PATH of a release)
endif
TLS  := $(shell pkg-config --cflags mbedtls mbedx509 mbedcrypto)
LIBS := $(shell pkg-config --libs mbedtls mbedx509 mbedcrypto)
ASAN_LIBS := $(LIBS)
FUZZ_LIBS := $(LIBS)

else

MBEDTLS_DIR = build/mbedtls-src
LIBS        = build/mbedtls/libmbedtls.a
ASAN_LIBS   = build/asan/mbedtls/libmbedtls.a
FUZZ_LIBS   = build/fuzz/mbedtls/libmbedtls.a

# A directory of the user's is never ours to make.
FETCHED = $(filter build/mbedtls-src,$(MBEDTLS_DIR))

# As system headers, so that our warnings are about our code. Mbed TLS 4 keeps
# those of its cryptography in tf-psa-crypto.
CRYPTO = $(MBEDTLS_DIR)/tf-psa-crypto
TLS = -I. -Imbedtls -DMBEDTLS_CONFIG_FILE='"mbedtls/config.h"' \
      -DTF_PSA_CRYPTO_CONFIG_FILE='"mbedtls/crypto_config.h"' \
      $(addprefix -isystem ,$(MBEDTLS_DIR)/include \
        $(MBEDTLS_DIR)/3rdparty/everest/include $(CRYPTO)/include \
        $(CRYPTO)/drivers/builtin/include $(CRYPTO)/drivers/everest/include)

# On x86-64, -O3 with SSE4 and the AES instructions is much faster than -O2,
# which is best elsewhere. AES is used where it is found at run time, but SSE4
# must be there: not before 2009, nor in some virtual machines. So this machine
# is asked, and to build here for an older one say MBEDTLS_CFLAGS=-O2. Who gives
# CFLAGS decides about Mbed TLS as well: a package is for more than this machine.
X86_SSE4 := $(findstring x86_64,$(shell $(CC) -dumpmachine)) \
            $(shell grep -o -m1 sse4_2 /proc/cpuinfo 2>/dev/null)
ifneq ($(origin CFLAGS),file)
MBEDTLS_CFLAGS = $(CPPFLAGS) $(CFLAGS)
else ifeq ($(X86_SSE4),x86_64 sse4_2)
MBEDTLS_CFLAGS = -O3 -march=x86-64-v2 -maes -mpclmul
else
MBEDTLS_CFLAGS = -O2
endif

build/mbedtls/libmbedtls.a: FORCE | $(FETCHED)
	+@$(MAKE) -s --no-print-directory -f mbedtls/build.mk SRC=$(MBEDTLS_DIR) \
	    OUT=$(@D) CC='$(CC)' FLAGS='$(HARDEN) $(MBEDTLS_CFLAGS)'

build/fuzz/mbedtls/libmbedtls.a: FORCE | $(FETCHED)
	+@$(MAKE) -s --no-print-directory -f mbedtls/build.mk SRC=$(MBEDTLS_DIR) \
	    OUT=$(@D) CC='$(FUZZ_CC)' FLAGS='$(FUZZ),fuzzer-no-link'

build/asan/mbedtls/libmbedtls.a: FORCE | $(FETCHED)
	+@$(MAKE) -s --no-print-directory -f mbedtls/build.mk SRC=$(MBEDTLS_DIR) \
	    OUT=$(@D) CC='$(CC)' FLAGS='$(ASAN)'

$(SMALL)/libmbedtls.a: FORCE | $(FETCHED)
	@tests/need $(firstword $(STATIC_CC))
	+@$(MAKE) -s --no-print-directory -f mbedtls/build.mk SRC=$(MBEDTLS_DIR) \
	    OUT=$(@D) CC='$(STATIC_CC)' FLAGS='$(STATIC)'

build/mbedtls-src:
	mbedtls/fetch $@

endif

# ---- one small file ----------------------------------------------------------

# With musl, unless CC says otherwise: arm-linux-gnueabihf-gcc, for example. What
# nothing calls is left out, program and library are optimized as one (LTO= where
# the compiler cannot), and Mbed TLS's tables are smaller. At fixed addresses:
# what is position-independent is a tenth larger.
STATIC_CC = $(if $(filter default,$(origin CC)),musl-gcc,$(CC))
LTO    = -flto -flto-partition=one
STATIC = -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -DMITM_SMALL -Os -fno-pie \
         -no-pie -fstack-protector -ffunction-sections -fdata-sections \
         -fno-unwind-tables -fno-asynchronous-unwind-tables \
         -fno-inline-functions-called-once $(LTO)
BUILD_STATIC = $(STATIC_CC) $(WARN) $(STATIC) $(TLS) -static -s \
         -Wl,--gc-sections,--build-id=none,-z,relro,-z,now,-z,noseparate-code \
         mbedtls/musl.c

# Other flags make the library anew, and so these; tests/cross has them.
static: $(SMALL)/mitmproxy
$(SMALL)/mitmproxy: mitmproxy.c Makefile mbedtls/musl.c $(SMALL)/libmbedtls.a
	$(BUILD_STATIC) -o $@ $< $(SMALL)/libmbedtls.a
	@echo "$@: $$(($$(wc -c < $@) / 1024)) KiB"

# ---- the program and its tests ---------------------------------------------

BUILD      = $(CC) $(WARN) $(HARDEN) $(TLS) $(CPPFLAGS) $(CFLAGS)
BUILD_ASAN = $(CC) $(WARN) $(ASAN) $(TLS) $(CPPFLAGS)
UNIT       = tests/unit.c mitmproxy.c

mitmproxy: mitmproxy.c build/flags $(filter %.a,$(LIBS))
	$(BUILD) $(LINK) $(LDFLAGS) -o $@ $< $(LIBS) $(LDLIBS)

QUICK = -DSECOND='strtod(getenv("SECOND"), NULL)'

# Its waits last as the environment's SECOND says, for tests of deadlines.
build/mitmproxy-quick: mitmproxy.c build/flags $(LIBS)
	$(BUILD) $(QUICK) $(LINK) $(LDFLAGS) -o $@ $< $(LIBS) $(LDLIBS)

$(SMALL)/mitmproxy-quick: mitmproxy.c Makefile $(SMALL)/libmbedtls.a
	$(BUILD_STATIC) $(QUICK) -o $@ $< $(SMALL)/libmbedtls.a

build/unit: $(UNIT) build/flags $(filter %.a,$(LIBS))
	$(BUILD) -DUNIT_TEST $(LINK) $(LDFLAGS) -o $@ $< $(LIBS) $(LDLIBS)

$(SMALL)/unit: $(UNIT) Makefile $(SMALL)/libmbedtls.a
	$(BUILD_STATIC) -DUNIT_TEST -o $@ $< $(SMALL)/libmbedtls.a

build/asan/mitmproxy: mitmproxy.c build/flags $(filter %.a,$(ASAN_LIBS))
	$(BUILD_ASAN) $(LINK) $(LDFLAGS) -o $@ $< $(ASAN_LIBS) $(LDLIBS)

build/asan/unit: $(UNIT) build/flags $(filter %.a,$(ASAN_LIBS))
	$(BUILD_ASAN) -DUNIT_TEST $(LINK) $(LDFLAGS) -o $@ $< $(ASAN_LIBS) $(LDLIBS)

# The inputs of the fuzz targets, once each, by any compiler.
FUZZ_C = $(addprefix tests/fuzz/,fuzz.c kernel.c world.c pairs.c frames.c) mitmproxy.c
build/fuzz-corpus: $(FUZZ_C) build/flags $(filter %.a,$(LIBS))
	$(BUILD) -DUNIT_TEST $(LINK) $(LDFLAGS) -o $@ $< $(LIBS) $(LDLIBS)

$(SMALL)/fuzz-corpus: $(FUZZ_C) Makefile $(SMALL)/libmbedtls.a
	$(BUILD_STATIC) -DUNIT_TEST -o $@ $< $(SMALL)/libmbedtls.a

build/asan/fuzz-corpus: $(FUZZ_C) build/flags $(filter %.a,$(ASAN_LIBS))
	$(BUILD_ASAN) -DUNIT_TEST $(LINK) $(LDFLAGS) -o $@ $< $(ASAN_LIBS) $(LDLIBS)

build/fuzz/fuzz: $(FUZZ_C) $(filter %.a,$(FUZZ_LIBS))
	$(FUZZ_CC) $(WARN) $(FUZZ),fuzzer $(TLS) $(CPPFLAGS) -DUNIT_TEST \
	    -DLIBFUZZER $(LDFLAGS) -o $@ $< $(FUZZ_LIBS) $(LDLIBS)

# Other flags make the program anew.
FLAGS = $(subst ','\'',$(BUILD) $(BUILD_ASAN) $(LINK) $(LDFLAGS) $(LDLIBS))
build/flags: FORCE
	@mkdir -p build
	@printf '%s\n' '$(FLAGS)' | cmp -s - $@ || printf '%s\n' '$(FLAGS)' > $@

test: mitmproxy build/unit build/mitmproxy-quick build/fuzz-corpus
	@tests/need curl openssl python3 prove
	@MITMPROXY=./mitmproxy FUZZ=build/fuzz-corpus tests/run build/unit tests/*.t

asan: build/asan/mitmproxy build/asan/unit build/mitmproxy-quick mitmproxy \
      build/asan/fuzz-corpus
	@tests/need curl openssl python3 prove
	@MITMPROXY=build/asan/mitmproxy FUZZ=build/asan/fuzz-corpus tests/run \
	    build/asan/unit tests/*.t

# On other processors, as far as qemu shows them; see there.
CROSS = armhf mips mipsel aarch64 riscv64 i386 musl
test-cross:
	+@MAKE='$(MAKE)' tests/cross $(CROSS)

# What is found anew stays in build/fuzz/TARGET; what breaks a property, in
# build/fuzz/TARGET-crash-*: add it to tests/fuzz/corpus when it is mended.
FUZZ_CC = clang
FUZZ_SECONDS = 60
fuzz: build/fuzz/fuzz
	@tests/need $(FUZZ_CC) openssl python3
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/fuzz/run $(TARGETS)

# Mixed work for a long time (MITM_SECONDS, 1800): does it stay as it was?
soak: mitmproxy
	MITMPROXY=./mitmproxy tests/soak

bench: mitmproxy
	@CC='$(CC)' tests/bench/run $(BENCH)

demo: mitmproxy
	@tests/need curl openssl python3
	@tests/demo

play: mitmproxy
	@tests/need curl openssl python3
	@lab/play

lab: mitmproxy
	@tests/need curl openssl python3
	@lab/start

# ---- the rest --------------------------------------------------------------

# PROGRAM=mitmproxy.c where another mitmproxy is there, as in distributions.
PROGRAM = mitmproxy
SHARE   = $(DESTDIR)$(PREFIX)/share
install: mitmproxy
	install -D mitmproxy $(DESTDIR)$(PREFIX)/bin/$(PROGRAM)
	install -d $(SHARE)/man/man1
	sed 's/^\.Nm mitmproxy$$/.Nm $(PROGRAM)/' mitmproxy.1 \
	    > $(SHARE)/man/man1/$(PROGRAM).1
	chmod 644 $(SHARE)/man/man1/$(PROGRAM).1
	$(if $(wildcard filters/*),install -D -t $(SHARE)/$(PROGRAM)/filters filters/*)

# A Debian package in build/, of what is committed; without network once the
# source of Mbed TLS is there.
deb: | $(FETCHED)
	packaging/debian/build '$(MBEDTLS_DIR)'

# The source is kept: it took a download. So is cert.pem, always: browsers
# have come to trust that very one.
clean:
	rm -rf mitmproxy $(filter-out build/mbedtls-src,$(wildcard build/*))

distclean:
	rm -rf mitmproxy build
