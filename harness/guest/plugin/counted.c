// SPDX-License-Identifier: GPL-2.0-only
/*
 * A plugin for QEMU's TCG: counts the instructions of a test, and in which functions they are.
 *
 *   -plugin FILE.so,out=COUNTS,switch=START-END[,symbols=SYMBOLS][,at=ADDRESSES]
 *
 * The guest has one processor of x86-64.  Marks tell when to count: an instruction that does nothing
 * and whose operand is one of the numbers below (the agent executes them).  Instructions are those
 * of the task that runs.  Which one that is shows in __switch_to_asm(), which lies at START to END:
 * it loads the stack pointer of the next task from the next task, whose address is as good as a name.
 *
 * Each instruction adds one to a counter, so that also those count exactly which end in a fault
 * (once when they fault, and once again).  What happened between two events is the difference.
 *
 * COUNTS is a file of sizeof(struct counts) bytes, mapped, so it is whole whatever ends QEMU.
 * Where a schedule has threads of the test stand back (guest/agent/preempt.c), COUNTS has where
 * they were, and what others ran meanwhile.
 *
 * ADDRESSES holds instructions, u64 each and sorted; with them, COUNTS has when the test came to them,
 * and when which task ran.
 *
 * SYMBOLS holds functions, struct symbol, sorted by address; with them, COUNTS also has a tree of calls
 * for each task.  harness/guest/counted.py is the other side of both.
 *
 * Debian's QEMU exports the functions below, but no package has their header; so they are declared
 * here.  Version 1 of the interface (QEMU 7.2) adds to a counter directly, later ones in a
 * scoreboard.
 */
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define WEAK __attribute__((weak))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;

struct scored {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
};

typedef void (*on_translation)(plugin_id id, struct qemu_plugin_tb *block);
typedef void (*on_execution)(unsigned int cpu, void *data);
typedef void (*on_access)(unsigned int cpu, uint32_t info, uint64_t address, void *data);

enum { NO_REGISTERS = 0 };
enum { ADD_U64 = 0 };
/* Reads and writes: asked for reads alone, QEMU 7.2 tells of none. */
enum { ACCESSES = 3 };

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, on_translation callback);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *instruction);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *instruction);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *instruction,
					    on_execution callback, int register_flags, void *data);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *block, on_execution callback,
					  int register_flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *instruction, on_access callback,
				      int register_flags, int accesses, void *data);

/* Interface 1 only. */
WEAK void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *instruction,
						     int operation, void *counter, uint64_t by);
WEAK const void *insn_data_1(const struct qemu_plugin_insn *instruction)
	__asm__("qemu_plugin_insn_data");

/* Interface 2 and later only. */
WEAK int qemu_plugin_num_vcpus(void);
WEAK struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
WEAK void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *score, unsigned int cpu);
WEAK void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *instruction,
							     int operation, struct scored entry,
							     uint64_t by);
WEAK size_t insn_data_2(const struct qemu_plugin_insn *instruction, void *bytes, size_t size)
	__asm__("qemu_plugin_insn_data");

EXPORT int qemu_plugin_version = 1;

__attribute__((constructor)) static void choose_version(void)
{
	if (qemu_plugin_num_vcpus)
		qemu_plugin_version = 2;
}

#define MAGIC		0x31746e756f436b48ULL
#define MAX_TASKS	8192
#define MAX_NODES	(1u << 19)
#define NO_FUNCTION	0xffffffffu	/* user space */
#define OTHER_FUNCTION	0xfffffffeu	/* a kernel address before the first symbol */
#define MAX_DEPTH	192
#define MAX_EVENTS	(1u << 18)

/* nopl MARK(%rax,%rax,1): does nothing; the last four bytes are the mark. */
static const uint8_t marker[4] = { 0x0f, 0x1f, 0x84, 0x00 };

enum mark {
	MARK_AGENT = 0x6b485401,	/* the agent runs */
	MARK_START = 0x6b485402,	/* the task is the test, about to execute its program */
	MARK_END = 0x6b485403,		/* the test has ended */
	MARK_STANDS = 0x6b485404,	/* the task that ran before this one stands back */
	MARK_GOES_ON = 0x6b485405,	/* one that stood back goes on */
	MARK_POINT = 0x6b485406,	/* a point of a schedule has come */
	MARK_ZERO = 0x6b485407,		/* from here the points of a schedule are counted */
};

enum state { IDLE, STARTED, ENDED };

struct task {
	uint64_t address;
	uint64_t user;
	uint64_t kernel;
	uint32_t root;		/* of its tree of calls */
	uint32_t flags;		/* enum task_flag */
};

enum task_flag { TASK_AGENT = 1, TASK_FIRST = 2 };

struct node {
	uint64_t count;
	uint64_t calls;
	uint32_t parent;
	uint32_t function;	/* number in SYMBOLS */
};

/* What is told of a schedule, in order. */
enum kind {
	STANDS,			/* a task stands back; its frames follow, the innermost first */
	FRAME,			/* "at" is where its function goes on */
	RAN,			/* before it runs again, another has come to a chain of calls for the first time */
	RUNS,			/* a task begins to run; "at" is when */
	CAME,			/* a task has come to one of ADDRESSES; "at" is when */
};

struct event {
	uint64_t at;
	uint32_t kind;
	uint32_t point;		/* how many points have come */
	uint32_t task;
	uint32_t node;
};

enum entry {
	NO_ENTRY,
	ENTRY_AT_START,		/* an interrupt or exception begins at its first byte */
	ENTRY_ANYWHERE,		/* a table of such beginnings */
};

struct symbol {
	uint64_t address;
	uint64_t entry;		/* enum entry */
};

struct counts {
	uint64_t magic;
	uint32_t go;		/* the host: the command is in the guest's port, so it may wake */
	uint32_t state;
	uint32_t events;
	uint32_t full;		/* tasks, nodes or events have not found a place */
	uint32_t tasks;
	uint32_t nodes;
	uint64_t switches;
	uint64_t lost;		/* instructions without a node */
	struct task task[MAX_TASKS];
	struct node node[MAX_NODES];
	struct event event[MAX_EVENTS];
};

static struct counts *counts;
static uint64_t switch_start, switch_end;
static const struct symbol *symbols;
static size_t symbol_count;

/* --- Counters ------------------------------------------------------------------- */

struct totals {
	uint64_t user;
	uint64_t kernel;
};

static struct totals direct;
static struct totals *now = &direct;
static struct qemu_plugin_scoreboard *score;

static void count_instruction(struct qemu_plugin_insn *instruction, bool kernel)
{
	if (!score) {
		qemu_plugin_register_vcpu_insn_exec_inline(
			instruction, ADD_U64, kernel ? &direct.kernel : &direct.user, 1);
		return;
	}
	qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(
		instruction, ADD_U64,
		(struct scored){ score, kernel ? offsetof(struct totals, kernel) :
						 offsetof(struct totals, user) },
		1);
}

/* --- Tasks ---------------------------------------------------------------------- */

/* What follows the calls of a task; only one that runs has it up to date. */
struct frame {
	uint64_t back;		/* where the caller goes on; 0 for an interrupt or exception */
	uint32_t node;		/* that of the caller */
	uint64_t call;		/* interrupt: where the call that it came before would have gone back */
	uint64_t at;		/* interrupt: behind the last instruction before it */
};

struct stack {
	uint32_t depth;
	uint32_t node;
	uint64_t guest;		/* while a nested guest runs: where its end goes on; else 0 */
	struct frame frame[MAX_DEPTH];
};

static struct stack *stacks;	/* by number of task */
static uint32_t by_address[4 * MAX_TASKS];	/* number of task, plus 1 */
static uint32_t current;	/* number, or MAX_TASKS while it is not known or has no place */
static uint32_t previous;	/* the one before */
static struct totals then;

static uint32_t new_node(uint32_t parent, uint32_t function);

static uint32_t find_task(uint64_t address)
{
	uint32_t slot = (uint32_t)((address >> 6) * 0x9e3779b1u) % (4 * MAX_TASKS);

	while (by_address[slot]) {
		uint32_t number = by_address[slot] - 1;

		if (counts->task[number].address == address)
			return number;
		slot = (slot + 1) % (4 * MAX_TASKS);
	}
	if (counts->tasks == MAX_TASKS) {
		counts->full = 1;
		return MAX_TASKS;
	}
	by_address[slot] = counts->tasks + 1;
	counts->task[counts->tasks].address = address;
	return counts->tasks++;
}

/* Gives what was counted since the last time to the task that ran. */
static void settle(void)
{
	if (counts->state == STARTED && current < MAX_TASKS) {
		counts->task[current].user += now->user - then.user;
		counts->task[current].kernel += now->kernel - then.kernel;
	}
	then = *now;
}

static void settle_node(void);
static void note_switch(void);

static void switched(unsigned int cpu, uint32_t info, uint64_t address, void *data)
{
	(void)cpu;
	(void)info;
	(void)data;
	settle_node();
	settle();
	previous = current;
	current = find_task(address);
	note_switch();
	if (counts->state == STARTED)
		counts->switches++;
}

static void start_tree(void);

/* --- Schedules ------------------------------------------------------------------ */

static uint32_t points;		/* that have come */
static uint32_t away;		/* how many tasks stood back and have not run since */
static uint8_t is_away[MAX_TASKS];
static uint64_t zero;		/* the instructions before MARK_ZERO */
static const uint64_t *stops;
static size_t stop_count;
static uint32_t *noted;		/* by node: after how many points it was last told of */

static void tell(enum kind kind, uint32_t task, uint32_t node, uint64_t at)
{
	if (counts->events == MAX_EVENTS) {
		counts->full = 1;
		return;
	}
	counts->event[counts->events++] = (struct event){ at, kind, points, task, node };
}

static void tell_frames(uint32_t task)
{
	const struct stack *stack = &stacks[task];

	for (uint32_t depth = stack->depth; depth-- > 0;) {
		const struct frame *frame = &stack->frame[depth];

		tell(FRAME, task, frame->node, frame->back ? frame->back : frame->at);
	}
}

static uint64_t instructions(void)
{
	return now->user + now->kernel;
}

static void note_switch(void)
{
	if (current < MAX_TASKS && is_away[current]) {
		is_away[current] = 0;
		away--;
	}
	if (stops && counts->state == STARTED && current < MAX_TASKS)
		tell(RUNS, current, 0, instructions() - zero);
}

static bool is_stop(uint64_t address)
{
	size_t low = 0, high = stop_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (stops[middle] == address)
			return true;
		if (stops[middle] < address)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static void came(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	if (counts->state == STARTED && current < MAX_TASKS &&
	    !(counts->task[current].flags & TASK_AGENT))
		tell(CAME, current, 0, instructions() - zero);
}

static void schedule_mark(enum mark mark)
{
	if (mark == MARK_POINT) {
		points++;
	} else if (mark == MARK_STANDS && previous < MAX_TASKS) {
		away += !is_away[previous];
		is_away[previous] = 1;
		tell(STANDS, previous, stacks[previous].node, 0);
		tell_frames(previous);
	}
}

/* What others run until a task that stood back runs again, each chain of calls once. */
static void note_node(void)
{
	uint32_t node = stacks[current].node;

	if (!away || noted[node] == points || counts->task[current].flags & TASK_AGENT)
		return;
	noted[node] = points;
	tell(RAN, current, node, 0);
}

static void marked(unsigned int cpu, void *data)
{
	enum mark mark = (enum mark)(uintptr_t)data;

	(void)cpu;
	settle_node();
	settle();
	if (current == MAX_TASKS)
		return;
	if (mark == MARK_ZERO) {
		zero = now->user + now->kernel;
	} else if (mark == MARK_AGENT) {
		counts->task[current].flags |= TASK_AGENT;
	} else if (mark == MARK_START && counts->state == IDLE) {
		counts->task[current].flags |= TASK_FIRST;
		counts->state = STARTED;
		start_tree();
	} else if (mark == MARK_END && counts->state == STARTED) {
		counts->state = ENDED;
	} else if (mark >= MARK_STANDS && counts->state == STARTED) {
		schedule_mark(mark);
	}
}

/* --- Calls ---------------------------------------------------------------------- */

/* What is known of a block when it is translated; never freed, as QEMU may run it at any time. */
struct block {
	uint64_t start;
	uint64_t end;
	uint32_t function;
	bool is_first;		/* begins the function */
	bool is_call;
	bool is_entry;		/* where interrupts and exceptions begin: only these follow anything */
	bool is_iret;
	bool is_vmrun;
};

static uint32_t *child_of;	/* hash of parent and function: number of node, plus 1 */
#define CHILDREN (4 * MAX_NODES)
static const struct block *before;
static uint64_t counted;	/* what the nodes have so far */

static uint32_t new_node(uint32_t parent, uint32_t function)
{
	struct node *node;

	if (counts->nodes == MAX_NODES) {
		counts->full = 1;
		return 0;
	}
	node = &counts->node[counts->nodes];
	node->parent = parent;
	node->function = function;
	return counts->nodes++;
}

static uint32_t child(uint32_t parent, uint32_t function)
{
	uint64_t key = ((uint64_t)parent << 32 | function) * 0x9e3779b97f4a7c15ULL;
	uint32_t slot = (uint32_t)(key >> 40) % CHILDREN;

	while (child_of[slot]) {
		uint32_t number = child_of[slot] - 1;

		if (counts->node[number].parent == parent &&
		    counts->node[number].function == function)
			return number;
		slot = (slot + 1) % CHILDREN;
	}
	{
		uint32_t number = new_node(parent, function);

		if (number)
			child_of[slot] = number + 1;
		return number;
	}
}

static uint32_t root_of(uint32_t task)
{
	if (!counts->task[task].root)
		counts->task[task].root = new_node(0, NO_FUNCTION);
	return counts->task[task].root;
}

/* Node 0 takes what has no place. */
static void settle_node(void)
{
	uint64_t all = now->user + now->kernel;

	if (symbols && counts->state == STARTED && current < MAX_TASKS) {
		uint32_t node = stacks[current].node;

		/* A task runs for the first time, amid a block. */
		if (!node)
			node = child(root_of(current), OTHER_FUNCTION);
		if (node)
			counts->node[node].count += all - counted;
		else
			counts->lost += all - counted;
	}
	counted = all;
}

static void start_tree(void)
{
	counted = now->user + now->kernel;
	then = *now;
	before = NULL;
}

static void push(struct stack *stack, uint64_t back, uint64_t call, uint64_t at)
{
	if (stack->depth == MAX_DEPTH) {
		/* The oldest half is given up; who returns there finds no frame, and goes on. */
		memmove(stack->frame, stack->frame + MAX_DEPTH / 2,
			sizeof(*stack->frame) * (MAX_DEPTH / 2));
		stack->depth = MAX_DEPTH / 2;
	}
	stack->frame[stack->depth++] = (struct frame){ back, stack->node, call, at };
}

/* Goes to the block's function as one that has the caller *parent*. */
static void go_down(struct stack *stack, uint32_t parent, const struct block *block)
{
	stack->node = parent ? child(parent, block->function) : 0;
	if (block->is_first)
		counts->node[stack->node].calls++;
}

/* Puts the block's function in the place of the one that ran at this depth. */
static void take_place(struct stack *stack, const struct block *block)
{
	uint32_t at = stack->node, parent = counts->node[at].parent;

	if (at && counts->node[at].function != block->function)
		go_down(stack, parent ? parent : at, block);
}

static bool go_back(struct stack *stack, uint64_t address)
{
	for (uint32_t depth = stack->depth; depth-- > 0;) {
		if (!stack->frame[depth].back)
			return false;	/* no return leaves an interrupt */
		if (stack->frame[depth].back == address) {
			stack->depth = depth;
			stack->node = stack->frame[depth].node;
			return true;
		}
	}
	return false;
}

/* Goes back to what was interrupted.  True if that was a call which had not begun its function yet. */
static bool end_interrupt(struct stack *stack)
{
	while (stack->depth) {
		struct frame *frame = &stack->frame[--stack->depth];

		if (!frame->back) {
			stack->node = frame->node;
			if (!frame->call)
				return false;
			push(stack, frame->call, 0, 0);
			return true;
		}
	}
	return false;
}

static void follow(const struct block *block, const struct block *last);

static void entered(unsigned int cpu, void *data)
{
	const struct block *block = data, *last = before;

	(void)cpu;
	before = block;
	if (counts->state != STARTED || current == MAX_TASKS)
		return;
	settle_node();
	follow(block, last);
	note_node();
}

static void follow(const struct block *block, const struct block *last)
{
	struct stack *stack = &stacks[current];
	uint32_t root = root_of(current);

	if (stack->guest) {
		if (block->start != stack->guest)
			return;
		stack->guest = 0;
		go_back(stack, block->start);
		return;
	}
	if (last && last->is_vmrun && block->start != last->end) {
		stack->guest = last->end;
		push(stack, last->end, 0, 0);
		stack->node = child(stack->node, NO_FUNCTION);
		return;
	}
	if (block->function == NO_FUNCTION) {
		stack->depth = 0;
		stack->node = root;
		return;
	}
	if (!stack->node || !last || last->function == NO_FUNCTION) {
		stack->depth = 0;
		go_down(stack, root, block);
		return;
	}
	if (block->is_entry && block->start != last->end) {
		push(stack, 0, last->is_call ? last->end : 0, last->end);
		go_down(stack, stack->node, block);
		return;
	}
	if (last->is_call && block->start != last->end) {
		push(stack, last->end, 0, 0);
		go_down(stack, stack->node, block);
		return;
	}
	if (last->is_iret && end_interrupt(stack)) {
		go_down(stack, stack->node, block);
		return;
	}
	if (stack->depth && go_back(stack, block->start))
		return;
	take_place(stack, block);
}

static uint32_t find_function(uint64_t address)
{
	size_t low = 0, high = symbol_count;

	if (!(address >> 63))
		return NO_FUNCTION;
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (symbols[middle].address <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? (uint32_t)(low - 1) : OTHER_FUNCTION;
}

/* --- Translation ---------------------------------------------------------------- */

static size_t bytes_of(struct qemu_plugin_insn *instruction, uint8_t *bytes, size_t room)
{
	size_t size = qemu_plugin_insn_size(instruction);

	if (size > room)
		size = room;
	if (qemu_plugin_num_vcpus)
		insn_data_2(instruction, bytes, size);
	else
		memcpy(bytes, insn_data_1(instruction), size);
	return size;
}

/* mov DISPLACEMENT(%rsi),%rsp: how __switch_to_asm() takes the next task's stack. */
static bool loads_next_stack(const uint8_t *bytes, size_t size)
{
	return size >= 4 && bytes[0] == 0x48 && bytes[1] == 0x8b &&
	       (bytes[2] == 0xa6 || bytes[2] == 0x66);
}

static bool is_call(const uint8_t *bytes, size_t size)
{
	size_t at = 0;

	/* Prefixes: segment, operand size, notrack, REX. */
	while (at < size && (bytes[at] == 0x2e || bytes[at] == 0x3e || bytes[at] == 0x66 ||
			     bytes[at] == 0x65 || (bytes[at] & 0xf0) == 0x40))
		at++;
	if (at < size && bytes[at] == 0xe8)
		return true;
	return at + 1 < size && bytes[at] == 0xff && (bytes[at + 1] >> 3 & 7) == 2;
}

static bool is_entry(const struct block *block)
{
	const struct symbol *symbol;

	if (block->function >= symbol_count)
		return false;
	symbol = &symbols[block->function];
	return symbol->entry == ENTRY_ANYWHERE ||
	       (symbol->entry == ENTRY_AT_START && symbol->address == block->start);
}

/* Keeps the guest from its first instruction until the host lets it go. */
static void wait_for_host(void)
{
	static bool waited;

	while (!waited) {
		waited = *(volatile uint32_t *)&counts->go;
		if (!waited)
			usleep(500);
	}
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
	size_t length = qemu_plugin_tb_n_insns(tb);
	uint64_t start = qemu_plugin_tb_vaddr(tb);
	uint8_t bytes[16] = { 0 };
	size_t size = 0;
	struct block *block = NULL;

	(void)id;
	/* There is a processor now: QEMU 10 aborts if it is asked for the counters of one before. */
	if (score && now == &direct)
		now = qemu_plugin_scoreboard_find(score, 0);
	wait_for_host();
	if (symbols) {
		block = calloc(1, sizeof(*block));
		if (!block)
			abort();
		block->start = start;
		block->function = find_function(start);
		block->is_first = block->function < symbol_count &&
				  symbols[block->function].address == start;
		block->is_entry = is_entry(block);
		qemu_plugin_register_vcpu_tb_exec_cb(tb, entered, NO_REGISTERS, block);
	}
	for (size_t i = 0; i < length; i++) {
		struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(instruction);

		count_instruction(instruction, address >> 63);
		size = bytes_of(instruction, bytes, sizeof(bytes));
		if (address >= switch_start && address < switch_end &&
		    loads_next_stack(bytes, size))
			qemu_plugin_register_vcpu_mem_cb(instruction, switched, NO_REGISTERS,
							 ACCESSES, NULL);
		if (is_stop(address))
			qemu_plugin_register_vcpu_insn_exec_cb(instruction, came, NO_REGISTERS, NULL);
		if (size == 8 && memcmp(bytes, marker, sizeof(marker)) == 0) {
			uint32_t mark;

			memcpy(&mark, bytes + 4, sizeof(mark));
			if (mark >= MARK_AGENT && mark <= MARK_ZERO)
				qemu_plugin_register_vcpu_insn_exec_cb(instruction, marked,
								       NO_REGISTERS,
								       (void *)(uintptr_t)mark);
		}
		if (block && i == length - 1) {
			block->end = address + qemu_plugin_insn_size(instruction);
			block->is_call = is_call(bytes, size);
			block->is_iret = size == 2 && bytes[0] == 0x48 && bytes[1] == 0xcf;
			block->is_vmrun = size == 3 && bytes[0] == 0x0f && bytes[1] == 0x01 &&
					  bytes[2] == 0xd8;
		}
	}
}

/* --- Start ---------------------------------------------------------------------- */

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
		fprintf(stderr, "counted: cannot map %s: %m\n", path);
	if (file >= 0)
		close(file);
	return mapped == MAP_FAILED ? NULL : mapped;
}

static bool parse_range(const char *text)
{
	char *end;

	switch_start = strtoull(text, &end, 16);
	if (*end != '-')
		return false;
	switch_end = strtoull(end + 1, &end, 16);
	return !*end && switch_start < switch_end;
}

static bool parse(int argc, char **argv)
{
	size_t size = 0;

	for (int i = 0; i < argc; i++) {
		if (strncmp(argv[i], "out=", 4) == 0) {
			counts = map_file(argv[i] + 4, true, &size);
			if (!counts || size != sizeof(*counts))
				return false;
		} else if (strncmp(argv[i], "switch=", 7) == 0) {
			if (!parse_range(argv[i] + 7))
				return false;
		} else if (strncmp(argv[i], "at=", 3) == 0) {
			stops = map_file(argv[i] + 3, false, &size);
			stop_count = size / sizeof(*stops);
			if (!stops)
				return false;
		} else if (strncmp(argv[i], "symbols=", 8) == 0) {
			symbols = map_file(argv[i] + 8, false, &size);
			symbol_count = size / sizeof(*symbols);
			if (!symbols || symbol_count * sizeof(*symbols) != size)
				return false;
		}
	}
	return counts && switch_end;
}

static bool set_up(void)
{
	current = previous = MAX_TASKS;
	stacks = calloc(MAX_TASKS, sizeof(*stacks));
	child_of = symbols ? calloc(CHILDREN, sizeof(*child_of)) : NULL;
	noted = calloc(MAX_NODES, sizeof(*noted));
	if (!stacks || !noted || (symbols && !child_of))
		return false;
	if (!qemu_plugin_register_vcpu_insn_exec_inline) {
		score = qemu_plugin_scoreboard_new(sizeof(struct totals));
	}
	counts->magic = MAGIC;
	counts->nodes = 1;
	return true;
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	(void)info;
	if (!parse(argc, argv) || !set_up()) {
		fprintf(stderr, "counted: out=COUNTS and switch=START-END are needed, and memory\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
