/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames between the agent in the guest and the host.
 *
 * harness/guest/frames.py is the other side; both must be changed together,
 * and FRAME_VERSION with them.
 *
 * A frame is a header of 8 bytes and a payload.  All numbers are little
 * endian.  A string or blob is a u32 length and that many bytes, no NUL.
 * A peer that receives anything it does not expect gives up at once: there is
 * no way to find the next frame in a stream that has gone wrong.
 */
#ifndef HARNESS_FRAMES_H
#define HARNESS_FRAMES_H

#include <stdint.h>

#define FRAME_VERSION		10
#define FRAME_HEADER_SIZE	8
#define FRAME_MAX_OUTPUT	(32768 - 8)	/* of STDOUT, STDERR: one write to the port */
#define FRAME_MAX_INPUT		4096		/* of INPUT */
#define FRAME_MAX_PAYLOAD	(1024 * 1024)	/* payload of anything */
#define FRAME_SEED_SIZE		32
#define FRAME_TOKEN_SIZE	16
#define FRAME_MAX_ARGS		4096		/* of argv, and of env */
#define FRAME_MAX_POINTS	4096		/* of preemption */
#define FRAME_UNKNOWN		UINT32_MAX
#define FRAME_PORT_NAME		"harness.agent"
/* The pages of memory in which a guest finds a letter.  The mark is written there XORed. */
#define FRAME_BOX_MARK	{ 0x39, 0x0c, 0x8c, 0x7d, 0x72, 0x47, 0x34, 0x2c, \
			0xd8, 0x10, 0x0f, 0x2f, 0x6f, 0x77, 0x0d, 0x65 }
#define FRAME_BOX_MARK_SIZE	16
#define FRAME_BOX_MASK		0xa5
#define FRAME_BOX_PAGES		20
#define FRAME_BOX_CONTENT	(4096 - FRAME_BOX_MARK_SIZE - 2 * sizeof(uint32_t))

struct frame_header {
	uint8_t version;
	uint8_t type;
	uint16_t reserved;	/* 0 */
	uint32_t length;	/* of the payload */
};

enum frame_type {
	/*
	 * Guest to host, once, when user space is ready:
	 * u64 CLOCK_REALTIME ns, u64 CLOCK_MONOTONIC ns, u32 taint flags that
	 * the kernel has, u32 enum frame_boot, blob build id, strings sysname,
	 * release, version, machine.
	 */
	FRAME_HELLO = 1,
	/*
	 * Host to guest: u64 grace in ms between TERM and KILL, u64 wall clock
	 * in ns, seed, token, u32 enum frame_io, u16 rows and u16 columns of
	 * the terminal, string cwd, u32 argc, strings argv, u32 envc, strings
	 * "NAME=value", u32 count, strings "FILE=value" of what is written to
	 * files before the program starts, string with the file of debugfs
	 * that says how many faults are left, or empty where no call
	 * of the program is to fail, u32 0 or 1: whether to send LEFT, u32 0 or
	 * 1: whether to preempt the test, u32 count, and for each point of
	 * preemption u64 ns from the start, ascending, and u64 ns for which the
	 * task stands back.  There is no time limit in it: only the host knows
	 * how much of the time the guest could run, see TIME_IS_UP.
	 */
	FRAME_RUN = 2,
	/* Guest to host: raw bytes. */
	FRAME_STDOUT = 3,
	FRAME_STDERR = 4,
	/*
	 * Guest to host, last of a run: u8 enum frame_end, u8 timed out,
	 * u16 status or signal, u32 taint flags that the kernel got meanwhile
	 * (Documentation/admin-guide/tainted-kernels.rst), u32 enum
	 * frame_unquiet, u64 user time in us, u64 system time in us, u64 maximum
	 * resident set in KiB, u64 wall time in ns, u64 time in ns in
	 * which the agent did not get to run, u32 faults left or FRAME_UNKNOWN,
	 * and the run's token, which a test that got hold of the port does not
	 * know.
	 */
	FRAME_EXIT = 5,
	/* Guest to host, about every second of a run: u64 CLOCK_MONOTONIC ns. */
	FRAME_HEARTBEAT = 6,
	/* Host to guest: no payload, no answer. */
	FRAME_POWEROFF = 7,
	/*
	 * Guest to host: u32 enum frame_error, u32 errno, the token of the run
	 * as in EXIT, all zero before the first run, string.
	 */
	FRAME_ERROR = 8,
	/* Host to guest, of a run with a terminal: what was typed.  Too late is no fault. */
	FRAME_INPUT = 9,
	/* Host to guest, as INPUT: u16 rows, u16 columns. */
	FRAME_WINDOW = 10,
	/*
	 * Host to guest: u64 limit in ns.  TERM as soon as the program has run for so
	 * long by CLOCK_MONOTONIC, too; KILL after the grace.  Too late is no fault.
	 */
	FRAME_TIME_IS_UP = 11,
	/*
	 * Guest to host, before EXIT, of a run that asked for it: lines of text.
	 * "left" comes first; then "cache NAME OBJECTS" for each slab cache that
	 * has grown, with lines of its alloc_traces (Documentation/mm/slub.rst)
	 * for what processes of the run have allocated.
	 */
	FRAME_LEFT = 12,
};

/* What a boot has left behind, bit by bit. */
enum frame_boot {
	/* The kernel has lockdep, and it is off since it complained or the kernel was tainted. */
	FRAME_BOOT_LOCKDEP_OFF = 1,
	/* The kernel was told to forget which of its WARN_ONCE() have come. */
	FRAME_BOOT_ONCE_RESET = 2,
	/* The kernel did not come to rest before the HELLO. */
	FRAME_BOOT_UNQUIET = 4,
};

/* What did not come to rest after a test, bit by bit; the kernel may complain later. */
enum frame_unquiet {
	/* Kernel threads that go on and on. */
	FRAME_UNQUIET_BUSY = 1,
	/* A grace period of RCU that does not end. */
	FRAME_UNQUIET_RCU = 2,
};

/* What the program has as standard input, output and error. */
enum frame_io {
	/* /dev/null, and a pipe for each of the others. */
	FRAME_IO_PIPES = 0,
	/* /dev/null, and one pipe for both. */
	FRAME_IO_MERGED = 1,
	/* A terminal, which controls the program's session; its output is STDOUT. */
	FRAME_IO_TERMINAL = 2,
};

enum frame_end {
	FRAME_END_EXITED = 0,
	FRAME_END_SIGNALED = 1,
};

enum frame_error {
	/* The program could not be started; the run is over, the agent lives. */
	FRAME_ERROR_START = 1,
	/* The test's process survives SIGKILL; the agent still reports. */
	FRAME_ERROR_UNKILLABLE = 2,
	/* What the host sent makes no sense; the agent powers off. */
	FRAME_ERROR_PROTOCOL = 3,
	/* The agent itself cannot go on; it powers off. */
	FRAME_ERROR_AGENT = 4,
};

#endif
