// SPDX-License-Identifier: GPL-2.0-only
/*
 * Stands for QEMU before a plugin that counts: translates and runs blocks that a script on standard
 * input describes, one a line, in hexadecimal:
 *
 *   b START LENGTH LAST     a block of one-byte instructions, the last of which is of a kind:
 *                           n (nothing), c (call, 5 bytes), r (return), i (iretq), v (vmrun)
 *   m MARK                  a block in user space with that mark of the agent
 *   s ADDRESS               __switch_to_asm() takes the stack of the task at that address
 *   f START LENGTH          a block of which only so many instructions run, as one faults
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SWITCH 0xffffffff81000bf0

struct qemu_plugin_insn {
	uint64_t vaddr;
	size_t size;
	uint8_t bytes[8];
	uint64_t *counter;
	void (*exec)(unsigned int cpu, void *data);
	void *data;
	void (*mem)(unsigned int cpu, uint32_t info, uint64_t address, void *data);
};

struct qemu_plugin_tb {
	size_t n;
	struct qemu_plugin_insn insn[64];
	void (*exec)(unsigned int cpu, void *data);
	void *data;
};

static void (*translate)(uint64_t id, struct qemu_plugin_tb *tb);
static int processors;	/* none while the plugin is installed */

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void *callback)
{
	translate = callback;
}

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb)
{
	return tb->n;
}

uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb)
{
	return tb->insn[0].vaddr;
}

void *qemu_plugin_tb_get_insn(struct qemu_plugin_tb *tb, size_t index)
{
	return &tb->insn[index];
}

uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn)
{
	return insn->vaddr;
}

size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn)
{
	return insn->size;
}

void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void *callback, int flags,
					    void *data)
{
	insn->exec = callback;
	insn->data = data;
}

void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void *callback, int flags,
					  void *data)
{
	tb->exec = callback;
	tb->data = data;
}

void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, void *callback, int flags,
				      int accesses, void *data)
{
	insn->mem = callback;
}

#if VERSION == 1
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn)
{
	return insn->bytes;
}

void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int operation,
						void *counter, uint64_t by)
{
	insn->counter = counter;
}
#else
struct scored {
	void *score;
	size_t offset;
};

int qemu_plugin_num_vcpus(void)
{
	return processors;
}

size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *bytes, size_t size)
{
	memcpy(bytes, insn->bytes, size);
	return size;
}

void *qemu_plugin_scoreboard_new(size_t size)
{
	return calloc(1, size);
}

void *qemu_plugin_scoreboard_find(void *score, unsigned int cpu)
{
	/* QEMU 10.0 does so. */
	if (cpu >= processors)
		abort();
	return score;
}

void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *insn, int operation,
							 struct scored entry, uint64_t by)
{
	insn->counter = (uint64_t *)((char *)entry.score + entry.offset);
}
#endif

static void set(struct qemu_plugin_insn *insn, const char *bytes, size_t size)
{
	memcpy(insn->bytes, bytes, size);
	insn->size = size;
}

static void run(struct qemu_plugin_tb *tb, size_t length, uint64_t address)
{
	translate(0, tb);
	if (tb->exec)
		tb->exec(0, tb->data);
	for (size_t i = 0; i < length; i++) {
		struct qemu_plugin_insn *insn = &tb->insn[i];

		++*insn->counter;
		if (insn->exec)
			insn->exec(0, insn->data);
		if (insn->mem)
			insn->mem(0, 0, address, NULL);
	}
}

static void block(uint64_t start, size_t length, char last, size_t ran)
{
	struct qemu_plugin_tb *tb = calloc(1, sizeof(*tb));

	tb->n = length;
	for (size_t i = 0; i < length; i++) {
		tb->insn[i].vaddr = start + i;
		set(&tb->insn[i], "\x90", 1);
	}
	if (last == 'c')
		set(&tb->insn[length - 1], "\xe8\0\0\0\0", 5);
	else if (last == 'r')
		set(&tb->insn[length - 1], "\xc3", 1);
	else if (last == 'i')
		set(&tb->insn[length - 1], "\x48\xcf", 2);
	else if (last == 'v')
		set(&tb->insn[length - 1], "\x0f\x01\xd8", 3);
	run(tb, ran, 0);
}

static void special(uint64_t start, const char *bytes, size_t size, uint64_t address)
{
	struct qemu_plugin_tb *tb = calloc(1, sizeof(*tb));

	tb->n = 1;
	tb->insn[0].vaddr = start;
	set(&tb->insn[0], bytes, size);
	run(tb, 1, address);
}

int main(int argc, char **argv)
{
	int (*install)(uint64_t id, const void *info, int argc, char **argv);
	void *plugin = dlopen(argv[1], RTLD_NOW);
	char line[128], last;
	unsigned long a, b;

	if (!plugin) {
		fprintf(stderr, "%s\n", dlerror());
		return 1;
	}
	if (*(int *)dlsym(plugin, "qemu_plugin_version") != VERSION)
		return 2;
	install = dlsym(plugin, "qemu_plugin_install");
	if (install(0, NULL, argc - 2, argv + 2))
		return 3;
	processors = 1;
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "b %lx %lx %c", &a, &b, &last) == 3) {
			block(a, b, last, b);
		} else if (sscanf(line, "f %lx %lx", &a, &b) == 2) {
			block(a, 16, 'n', b);
		} else if (sscanf(line, "m %lx", &a) == 1) {
			char bytes[8] = { 0x0f, 0x1f, (char)0x84, 0 };

			memcpy(bytes + 4, &a, 4);
			special(0x401000, bytes, 8, 0);
		} else if (sscanf(line, "s %lx", &a) == 1) {
			special(SWITCH, "\x48\x8b\xa6\x18\x0a\0\0", 7, a);
		} else {
			return 4;
		}
	}
	return 0;
}
