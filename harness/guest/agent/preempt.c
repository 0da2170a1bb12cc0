// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preempts a test at chosen times: the thread of it that runs then stands back for a while, and
 * what else there is to run goes before it.
 *
 * In a counted guest time is instructions, so the same times are the same places of the test.  A
 * thread with a priority above all others sleeps until each time.  Which task it has displaced it
 * reads from the kernel's own record of switches (perf), written the moment it is switched in.  That
 * task gets SCHED_IDLE, and later its own policy back: it runs only while nothing else can, so a
 * test that has to wait for it does not stand still for ever.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "agent.h"

#define RING_PAGES	4
#define STACK_SIZE	(64 * 1024)

/* How long the filler runs before it lets others go first. */
#define FILL_ROUNDS	1000

/* A task that stands back. */
struct standing {
	pid_t task;		/* 0 for an entry that is free */
	int policy;
	struct sched_param param;
	uint64_t until;
};

static const struct preemption *points;
static size_t point_count;
static uint64_t zero;		/* when the test started, by CLOCK_MONOTONIC */
static struct standing standing[MAX_STANDING];
static struct perf_event_mmap_page *ring;
static pthread_t thread, filler;
static sem_t ready;
static int failed;

/* Has the kernel write down each switch, the newest one first. */
static int open_ring(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_DUMMY,
		.size = sizeof(attr),
		.context_switch = 1,
		.write_backward = 1,
	};
	size_t size = (1 + RING_PAGES) * sysconf(_SC_PAGESIZE);
	int fd = syscall(SYS_perf_event_open, &attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);

	if (fd < 0)
		return errno;
	ring = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (ring == MAP_FAILED) {
		ring = NULL;
		return errno;
	}
	close(fd);	/* the mapping keeps it */
	return 0;
}

/* The task that this thread has displaced, if what is newest is that it was switched in; else 0. */
static pid_t displaced(void)
{
	struct {
		struct perf_event_header header;
		uint32_t pid, tid;
	} record;
	const uint8_t *data = (const uint8_t *)ring + sysconf(_SC_PAGESIZE);
	size_t size = RING_PAGES * sysconf(_SC_PAGESIZE);
	uint64_t head = __atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE);

	for (size_t i = 0; i < sizeof(record); i++)
		((uint8_t *)&record)[i] = data[(head + i) % size];
	if (record.header.type != PERF_RECORD_SWITCH_CPU_WIDE ||
	    record.header.misc & PERF_RECORD_MISC_SWITCH_OUT || record.pid == 1)
		return 0;
	/* Neither the idle task nor a thread of the kernel has a session. */
	return record.tid && getsid(record.tid) > 0 ? (pid_t)record.tid : 0;
}

static void stand_back(pid_t task, uint64_t until)
{
	const struct sched_param none = { 0 };
	struct standing *free = NULL;

	for (size_t i = 0; i < MAX_STANDING; i++) {
		if (standing[i].task == task)
			return;		/* it runs because nothing else can */
		if (!standing[i].task)
			free = &standing[i];
	}
	if (!task || !free)
		return;
	free->policy = sched_getscheduler(task);
	if (free->policy < 0 || sched_getparam(task, &free->param) ||
	    sched_setscheduler(task, SCHED_IDLE, &none))
		return;
	free->task = task;
	free->until = until;
	mark(MARK_STANDS);
}

static void let_go(struct standing *which)
{
	sched_setscheduler(which->task, which->policy, &which->param);
	which->task = 0;
	mark(MARK_GOES_ON);
}

static void sleep_until(uint64_t ns)
{
	struct timespec ts = { ns / NSEC_PER_SEC, ns % NSEC_PER_SEC };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static void *preempt(void *unused)
{
	const struct sched_param first = { .sched_priority = 98 };

	(void)unused;
	if (!failed)
		failed = sched_setscheduler(0, SCHED_FIFO, &first) ? errno : open_ring();
	mark(MARK_AGENT);
	sem_post(&ready);
	for (size_t next = 0; !failed;) {
		struct standing *first_over = NULL;
		uint64_t until;

		for (size_t i = 0; i < MAX_STANDING; i++)
			if (standing[i].task && (!first_over || standing[i].until < first_over->until))
				first_over = &standing[i];
		if (next == point_count && !first_over)
			break;
		if (first_over && (next == point_count || first_over->until <= zero + points[next].at)) {
			sleep_until(first_over->until);
			let_go(first_over);
			continue;
		}
		until = zero + points[next].at;
		/* What is past displaces no one. */
		if (until > clock_ns(CLOCK_MONOTONIC)) {
			sleep_until(until);
			mark(MARK_POINT);
			stand_back(displaced(), until + points[next].length);
		} else {
			mark(MARK_POINT);
		}
		next++;
	}
	return NULL;
}

/*
 * Runs where nothing else can: an idle guest goes to its next timer at once, and then its clock has
 * moved on without instructions.
 */
static void *fill(void *unused)
{
	const struct sched_param none = { 0 };

	(void)unused;
	if (sched_setscheduler(0, SCHED_IDLE, &none))
		failed = errno;
	mark(MARK_AGENT);
	sem_post(&ready);
	for (;;) {
		for (volatile int i = 0; i < FILL_ROUNDS; i++)
			;
		sched_yield();
		pthread_testcancel();
	}
	return NULL;
}

static int start_thread(pthread_t *which, void *(*run)(void *))
{
	pthread_attr_t small;
	int error;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, STACK_SIZE);
	error = pthread_create(which, &small, run, NULL);
	pthread_attr_destroy(&small);
	while (!error && sem_wait(&ready))
		;
	return error;
}

static void stop_thread(pthread_t which)
{
	pthread_cancel(which);
	pthread_join(which, NULL);
}

/*
 * Begins to preempt the test that is about to start.  At each point, in ns from now on, the
 * task that runs stands back for that long.  False, with errno, where the kernel does not do that.
 */
bool start_to_preempt(const struct preemption *at, size_t count)
{
	int error;

	points = at;
	point_count = count;
	failed = 0;
	memset(standing, 0, sizeof(standing));
	sem_init(&ready, 0, 0);
	error = start_thread(&filler, fill);
	if (error) {
		errno = error;
		return false;
	}
	zero = clock_ns(CLOCK_MONOTONIC);
	mark(MARK_ZERO);
	error = start_thread(&thread, preempt);
	if (!error && !failed)
		return true;
	stop_thread(filler);
	if (!error)
		stop_thread(thread);
	errno = error ? error : failed;
	return false;
}

/* Lets everything go on; nothing of the test is left that could be preempted. */
void stop_to_preempt(void)
{
	stop_thread(thread);
	stop_thread(filler);
	if (ring)
		munmap(ring, (1 + RING_PAGES) * sysconf(_SC_PAGESIZE));
	ring = NULL;
}
