# SPDX-License-Identifier: GPL-2.0-only
# As much of kselftest's lib.mk as a C program needs.
TEST_GEN_PROGS := $(patsubst %,$(OUTPUT)/%,$(TEST_GEN_PROGS))

all: $(TEST_GEN_PROGS)

$(OUTPUT)/%: %.c
	$(CC) $(CFLAGS) $(KHDR_INCLUDES) $< $(LDFLAGS) -o $@
