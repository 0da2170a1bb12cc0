// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plugin for QEMU's TCG: notes which ranges of code the guest's processors have reached.
 *
 *   -plugin FILE.so,map=RANGES,out=HITS
 *
 * RANGES holds pairs of 64-bit addresses in the host's byte order: the first byte of a range and the
 * one behind its last.  The pairs are sorted and do not overlap.  HITS has one byte for each of them,
 * which becomes 1 when an instruction of the range is about to run.  HITS is mapped, so it is whole
 * whatever ends QEMU, SIGKILL included.
 *
 * Only instructions inside the ranges get a callback: all other code runs as it does without the
 * plugin.  Debian's QEMU exports the functions below, but no package has their header; so they are
 * declared here.  They are the same in all versions of the interface, 1 (QEMU 7.2) and later.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

typedef void (*on_translation)(plugin_id id, struct qemu_plugin_tb *block);
typedef void (*on_execution)(unsigned int cpu, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, on_translation callback);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *instruction,
					    on_execution callback, int register_flags, void *data);

/* Only QEMU 9.0 and later have this one, and these refuse plugins of interface 1. */
int qemu_plugin_num_vcpus(void) __attribute__((weak));

EXPORT int qemu_plugin_version = 1;

__attribute__((constructor)) static void choose_version(void)
{
	if (qemu_plugin_num_vcpus)
		qemu_plugin_version = 2;
}

enum { NO_REGISTERS = 0 };

struct range {
	uint64_t start;
	uint64_t end;
};

static const struct range *ranges;
static size_t count;
static uint8_t *hits;

static void reached(unsigned int cpu, void *data)
{
	(void)cpu;
	/* Processors may race here, but all of them write the same. */
	*(volatile uint8_t *)data = 1;
}

/* Return the first range that ends behind the address; count if there is none. */
static size_t find(uint64_t address)
{
	size_t low = 0, high = count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ranges[middle].end <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
	size_t instructions = qemu_plugin_tb_n_insns(block);
	size_t last = count;

	(void)id;
	for (size_t i = 0; i < instructions; i++) {
		struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
		uint64_t address = qemu_plugin_insn_vaddr(instruction);
		size_t found;

		if (address < ranges[0].start || address >= ranges[count - 1].end)
			continue;
		found = find(address);
		/* A block has one way in: who comes to its second instruction ran the first. */
		if (found == last || address < ranges[found].start)
			continue;
		qemu_plugin_register_vcpu_insn_exec_cb(instruction, reached, NO_REGISTERS,
						       hits + found);
		last = found;
	}
}

static void *map_file(const char *path, bool writable, size_t *size)
{
	int file = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	struct stat status;
	void *mapped = MAP_FAILED;

	if (file >= 0 && fstat(file, &status) == 0 && status.st_size > 0) {
		*size = (size_t)status.st_size;
		mapped = mmap(NULL, *size, PROT_READ | (writable ? PROT_WRITE : 0),
			      writable ? MAP_SHARED : MAP_PRIVATE, file, 0);
	}
	if (mapped == MAP_FAILED)
		fprintf(stderr, "reached: cannot map %s: %m\n", path);
	if (file >= 0)
		close(file);
	return mapped == MAP_FAILED ? NULL : mapped;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	size_t map_size = 0, out_size = 0;

	(void)info;
	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "map=", 4) == 0)
			ranges = map_file(argv[i] + 4, false, &map_size);
		else if (strncmp(argv[i], "out=", 4) == 0)
			hits = map_file(argv[i] + 4, true, &out_size);
	}
	if (!ranges || !hits)
		return -1;
	count = map_size / sizeof(*ranges);
	if (count * sizeof(*ranges) != map_size || count != out_size) {
		fprintf(stderr, "reached: %zu bytes of ranges do not go with %zu of hits\n",
			map_size, out_size);
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
