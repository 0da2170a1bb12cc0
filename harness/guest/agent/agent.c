// SPDX-License-Identifier: GPL-2.0-only
/*
 * The agent: PID 1 of a guest.
 *
 * Sets the guest up, opens its virtio-serial port, says hello, and then runs
 * one program per RUN frame.  It is one thread around one poll(), allocates
 * nothing after start, and holds no output: when the host does not read, the
 * port blocks, then the pipe does, then the test.
 */
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"
#include "frames.h"

#define NSEC_PER_MSEC	1000000ULL
/* In less than that a test cannot use up all PIDs, so that the first come again. */
#define LONG_TEST_NS	(500 * NSEC_PER_MSEC)
#define MOST_BEYOND_NS	(10 * NSEC_PER_MSEC)
#define MAX_GRACE_MS	(7ULL * 24 * 3600 * 1000)

struct run {
	uint64_t grace_ms;
	uint64_t wall_clock_ns;
	const uint8_t *seed;
	uint32_t io;
	uint16_t rows;
	uint16_t columns;
	char *cwd;
	char *argv[FRAME_MAX_ARGS + 1];
	char *env[FRAME_MAX_ARGS + 1];
	char *files[FRAME_MAX_ARGS + 1];
	char *counter;		/* of faults that are left; empty where none is wanted */
	uint32_t watch_left;
	uint32_t preempt;
	uint32_t point_count;
	struct preemption points[FRAME_MAX_POINTS];
};

/* A run in progress. */
struct job {
	pid_t pid;
	int pipes[2];		/* stdout or terminal, stderr; -1 after end of file */
	bool reaped;
	bool timed_out;
	bool childless;
	int status;
	struct rusage usage;
	uint64_t limit_ns;	/* UINT64_MAX until the host says that it has passed */
	uint64_t started;
	uint64_t ended;
	uint32_t unquiet;
	uint64_t lost;
	const char *failed;	/* what kept the test from starting */
};

/* What the kernel's boot has left behind. */
struct boot {
	uint32_t taint;
	uint32_t flags;		/* enum frame_boot */
};

struct cursor {
	uint8_t *at;
	uint8_t *end;
	bool bad;
};

static int taint = -1;
static int generator = -1;	/* of random numbers */
/* Flags that were told to the host. What came since, before a test or under it, counts for the test. */
static uint32_t known_taint;
static uint8_t inbox[FRAME_MAX_PAYLOAD];
static struct run run;

static uint8_t *get(struct cursor *c, size_t length)
{
	uint8_t *at = c->at;

	if (c->bad || (size_t)(c->end - c->at) < length) {
		c->bad = true;
		return NULL;
	}
	c->at += length;
	return at;
}

static uint16_t get_u16(struct cursor *c)
{
	uint8_t *at = get(c, sizeof(uint16_t));
	uint16_t value = 0;

	if (at)
		memcpy(&value, at, sizeof(value));
	return le16toh(value);
}

static uint32_t get_u32(struct cursor *c)
{
	uint8_t *at = get(c, sizeof(uint32_t));
	uint32_t value = 0;

	if (at)
		memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static uint64_t get_u64(struct cursor *c)
{
	uint8_t *at = get(c, sizeof(uint64_t));
	uint64_t value = 0;

	if (at)
		memcpy(&value, at, sizeof(value));
	return le64toh(value);
}

/*
 * Moves the string over its own length field, which makes room for the NUL
 * without touching what follows.
 */
static char *get_string(struct cursor *c)
{
	uint32_t length = get_u32(c);
	uint8_t *from = get(c, length);
	char *to;

	if (!from || memchr(from, 0, length)) {
		c->bad = true;
		return NULL;
	}
	to = (char *)from - 1;
	memmove(to, from, length);
	to[length] = 0;
	return to;
}

static void get_strings(struct cursor *c, char **list)
{
	uint32_t i, count = get_u32(c);

	if (count > FRAME_MAX_ARGS) {
		c->bad = true;
		return;
	}
	for (i = 0; i < count && !c->bad; i++)
		list[i] = get_string(c);
	list[i] = NULL;
}

static void get_points(struct cursor *c)
{
	run.point_count = get_u32(c);
	if (run.point_count > FRAME_MAX_POINTS) {
		c->bad = true;
		return;
	}
	for (uint32_t i = 0; i < run.point_count; i++) {
		run.points[i].at = get_u64(c);
		run.points[i].length = get_u64(c);
	}
}

static bool parse_run(struct cursor *c)
{
	const uint8_t *new_token;

	run.grace_ms = get_u64(c);
	run.wall_clock_ns = get_u64(c);
	run.seed = get(c, FRAME_SEED_SIZE);
	new_token = get(c, FRAME_TOKEN_SIZE);
	if (new_token)
		memcpy(token, new_token, sizeof(token));
	run.io = get_u32(c);
	run.rows = get_u16(c);
	run.columns = get_u16(c);
	run.cwd = get_string(c);
	get_strings(c, run.argv);
	get_strings(c, run.env);
	get_strings(c, run.files);
	run.counter = get_string(c);
	run.watch_left = get_u32(c);
	run.preempt = get_u32(c);
	get_points(c);
	return !c->bad && c->at == c->end && run.io <= FRAME_IO_TERMINAL && run.argv[0] &&
	       run.grace_ms <= MAX_GRACE_MS && run.watch_left <= 1 && run.preempt <= 1;
}

/*
 * A restored guest wakes with the clock and the random state of the snapshot,
 * the same for every test.
 */
static void set_clock_and_seed(void)
{
	struct timespec ts = {
		.tv_sec = run.wall_clock_ns / NSEC_PER_SEC,
		.tv_nsec = run.wall_clock_ns % NSEC_PER_SEC,
	};
	struct {
		struct rand_pool_info info;
		uint8_t seed[FRAME_SEED_SIZE];
	} entropy = {
		.info = { .entropy_count = FRAME_SEED_SIZE * 8, .buf_size = FRAME_SEED_SIZE },
	};

	if (clock_settime(CLOCK_REALTIME, &ts))
		give_up(FRAME_ERROR_AGENT, "cannot set the clock");
	memcpy(entropy.info.buf, run.seed, FRAME_SEED_SIZE);
	if (ioctl(generator, RNDADDENTROPY, &entropy) || ioctl(generator, RNDRESEEDCRNG))
		give_up(FRAME_ERROR_AGENT, "cannot seed the random number generator");
}

static void close_pipes(struct job *job)
{
	for (int i = 0; i < 2; i++) {
		if (job->pipes[i] >= 0)
			close(job->pipes[i]);
		job->pipes[i] = -1;
	}
}

/* In the child of vfork(), which has the parent's memory: what failed is left there. */
static _Noreturn void exec_test(int out, int err, const char *terminal, volatile int *error)
{
	const struct rlimit no_core = { 0, 0 }, files = { 1024, 524288 };
	sigset_t none;
	int in;

	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setrlimit(RLIMIT_CORE, &no_core);
	setrlimit(RLIMIT_NOFILE, &files);
	/* The first terminal that the leader of a session opens is the one that controls it. */
	in = open(terminal ? terminal : "/dev/null", (terminal ? O_RDWR : O_RDONLY) | O_CLOEXEC);
	if (terminal)
		out = err = in;
	if (in >= 0 && dup2(in, 0) == 0 && dup2(out, 1) == 1 && dup2(err, 2) == 2 &&
	    !chdir(run.cwd)) {
		if (*run.counter)
			stop_at_exec();
		mark(MARK_START);
		execve(run.argv[0], run.argv, run.env);
	}
	*error = errno;
	_exit(127);
}

static void close_fds(const int *out, const int *err)
{
	for (int i = 0; i < 2; i++) {
		close(out[i]);
		close(err[i]);
	}
}

/* Starts the test with a terminal or with pipes.  Returns false, with errno, when it does not start. */
static bool start_test(struct job *job)
{
	int out[2] = { -1, -1 }, err[2] = { -1, -1 };
	const bool terminal = run.io == FRAME_IO_TERMINAL;
	volatile int error = 0;
	char path[64];

	job->failed = write_files(run.files);
	if (job->failed)
		return false;
	job->failed = run.argv[0];
	if (terminal) {
		out[0] = open_terminal(run.rows, run.columns, path, sizeof(path));
		if (out[0] < 0)
			return false;
	} else if (pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC)) {
		give_up(FRAME_ERROR_AGENT, "cannot make pipes");
	}
	job->started = clock_ns(CLOCK_MONOTONIC);
	if (run.preempt && !start_to_preempt(run.points, run.point_count)) {
		error = errno;
		job->failed = "preemption of the test (perf_event_open)";
		close_fds(out, err);
		errno = error;
		return false;
	}
	/* No copy of page tables that exec would throw away: a millisecond or more under TCG. */
	job->pid = vfork();
	if (job->pid < 0)
		give_up(FRAME_ERROR_AGENT, "cannot fork");
	if (!job->pid)
		exec_test(out[1], run.io == FRAME_IO_MERGED ? out[1] : err[1],
			  terminal ? path : NULL, &error);
	if (!terminal) {
		close(out[1]);
		close(err[1]);
		fcntl(err[0], F_SETFL, O_NONBLOCK);
	}
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	job->pipes[0] = out[0];
	job->pipes[1] = err[0];
	if (!error && *run.counter && !mark_and_go(job->pid)) {
		error = errno;
		job->failed = "/proc/PID/make-it-fail";
		kill(job->pid, SIGKILL);
	}
	if (!error)
		return true;
	waitpid(job->pid, NULL, 0);
	close_pipes(job);
	errno = error;
	return false;
}

/* Moves at most one frame, so that nobody has to wait for a flood to end.  False when there is none. */
static bool forward(struct job *job, int which)
{
	ssize_t n;

	if (job->pipes[which] < 0)
		return false;
	n = read(job->pipes[which], payload, FRAME_MAX_OUTPUT);
	if (n > 0) {
		send_frame(which ? FRAME_STDERR : FRAME_STDOUT, payload + n);
		return true;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(job->pipes[which]);
		job->pipes[which] = -1;
	}
	return false;
}

/* True where some process has ended. */
static bool reap(struct job *job)
{
	struct rusage usage;
	bool any = false;
	int status;
	pid_t pid;

	while ((pid = wait4(-1, &status, WNOHANG, &usage)) > 0) {
		any = true;
		if (pid != job->pid)
			continue;
		mark(MARK_END);
		job->reaped = true;
		job->ended = clock_ns(CLOCK_MONOTONIC);
		job->status = status;
		job->usage = usage;
	}
	if (!job->childless && pid < 0 && errno == ECHILD) {
		job->childless = true;
		/* What it has written is still to be read, which is as long as RCU takes. */
		ask_for_grace_period();
	}
	return any;
}

/* Reads one frame of the host, all of which is under way. */
static void hear_host(struct job *job)
{
	struct frame_header header;
	uint64_t limit;

	read_header(&header);
	if (header.type == FRAME_TIME_IS_UP && header.length == sizeof(limit)) {
		read_exactly((uint8_t *)&limit, sizeof(limit));
		job->limit_ns = le64toh(limit);
		return;
	}
	if (run.io != FRAME_IO_TERMINAL || !read_input(&header, job->pipes[0]))
		give_up(FRAME_ERROR_PROTOCOL, "bad frame during a run");
}

/*
 * How much of its limit the test has not had by this guest's clock, which is the one that its
 * report is in.  The host counts with its own; where a host was suspended, it has counted more.
 */
static uint64_t left_ns(const struct job *job)
{
	uint64_t ran = clock_ns(CLOCK_MONOTONIC) - job->started;

	return job->limit_ns > ran ? job->limit_ns - ran : 0;
}

/* Returns at once where there was something to do. */
static void wait_for_work(struct job *job, int sigfd, uint64_t ns)
{
	struct signalfd_siginfo info;
	bool terminal = run.io == FRAME_IO_TERMINAL;
	struct pollfd fds[4] = {
		{ .fd = sigfd, .events = POLLIN },
		{ .fd = job->pipes[0], .events = terminal ? wanted_of_terminal() : POLLIN },
		{ .fd = job->pipes[1], .events = POLLIN },
		{ .fd = port, .events = !terminal || wants_input() ? POLLIN : 0 },
	};

	if (poll(fds, 4, ns ? ns / NSEC_PER_MSEC + 1 : 0) <= 0)
		return;
	if (fds[0].revents)
		while (read(sigfd, &info, sizeof(info)) > 0)
			;
	if (fds[3].revents & POLLIN)
		hear_host(job);
}

/*
 * Waits for the test's end, then kills whatever it left behind: a process that
 * holds stdout open must not hold up the report.  False when something cannot
 * be killed.
 */
static bool watch_test(struct job *job, int sigfd)
{
	uint64_t kill_at = 0, give_up_at = 0, last_at = 0, next_beat;

	/* The first one says that the program has started, so that its time runs. */
	start_to_beat();
	job->lost = lost_ns;
	for (;;) {
		uint64_t now = awake_ns(), left = left_ns(job);
		uint64_t until, wait;
		bool moved;

		next_beat = beat();
		/* First who is left, then what they wrote: the other order loses last words. */
		if (reap(job) && give_up_at)
			give_up_at = now + REAP_LIMIT_NS;
		moved = forward(job, 0);
		moved |= forward(job, 1);
		if (run.io == FRAME_IO_TERMINAL)
			pass_input(job->pipes[0]);
		if (job->childless && !moved)
			return true;
		if (!job->reaped && !kill_at && !left) {
			job->timed_out = true;
			/* A test may wait for ever for what has failed: where, is to be read. */
			if (*run.counter)
				write_file("/proc/sysrq-trigger", "w");
			kill_at = now + run.grace_ms * NSEC_PER_MSEC;
			kill(-job->pid, SIGTERM);
		}
		if (!job->childless && (job->reaped || (kill_at && now >= kill_at))) {
			if (!give_up_at) {
				give_up_at = now + REAP_LIMIT_NS;
				last_at = now + REAP_ALL_LIMIT_NS;
			}
			if (now >= give_up_at || now >= last_at)
				return false;
			/* Again and again: a fork bomb may have been quicker. */
			kill(-1, SIGKILL);
		}
		until = give_up_at ? now + 10 * NSEC_PER_MSEC : kill_at ? kill_at : next_beat;
		if (until > next_beat)
			until = next_beat;
		wait = moved || until <= now ? 0 : until - now;
		if (!job->reaped && !kill_at && wait > left)
			wait = left;
		wait_for_work(job, sigfd, wait);
	}
}

/*
 * After this line nothing of the test is left to print anything, so a host
 * that has seen it has the whole kernel log.  At the lowest level, so that it
 * does not arrive either where a test has turned messages off.
 */
static void mark_log_end(void)
{
	char line[64 + 2 * FRAME_TOKEN_SIZE];
	int i, len = sprintf(line, "<7>harness-agent: end ");

	for (i = 0; i < FRAME_TOKEN_SIZE; i++)
		len += sprintf(line + len, "%02x", token[i]);
	sprintf(line + len, "\n");
	log_line(line);
}

/*
 * A test can keep the kernel's words from the console; the flag that the kernel
 * sets with them it cannot take back. The file is open since before the test,
 * which may have unmounted /proc.
 */
static uint32_t read_taint(void)
{
	char text[32] = "";

	if (taint < 0 || pread(taint, text, sizeof(text) - 1, 0) < 0)
		return 0;	/* a kernel without the file */
	return strtoul(text, NULL, 10);
}

static void send_exit(const struct job *job)
{
	bool signaled = WIFSIGNALED(job->status);
	uint16_t code = htole16(signaled ? WTERMSIG(job->status) : WEXITSTATUS(job->status));
	const struct rusage *u = &job->usage;
	uint8_t *at = payload;
	uint32_t tainted = read_taint();

	*at++ = signaled ? FRAME_END_SIGNALED : FRAME_END_EXITED;
	*at++ = job->timed_out;
	at = put(at, &code, sizeof(code));
	at = put_u32(at, tainted & ~known_taint);
	at = put_u32(at, job->unquiet);
	at = put_u64(at, u->ru_utime.tv_sec * 1000000ULL + u->ru_utime.tv_usec);
	at = put_u64(at, u->ru_stime.tv_sec * 1000000ULL + u->ru_stime.tv_usec);
	at = put_u64(at, u->ru_maxrss);
	at = put_u64(at, job->ended - job->started);
	at = put_u64(at, lost_ns - job->lost);
	at = put_u32(at, faults_left(run.counter));
	known_taint = tainted;
	send_frame(FRAME_EXIT, put(at, token, sizeof(token)));
}

static bool bring_to_rest(struct job *job, int sigfd)
{
	struct quiet quiet = {
		.sigfd = sigfd,
		.first = job->pid,
		.all = awake_ns() - job->started > LONG_TEST_NS,
	};
	bool done = quiesce(&quiet);

	job->unquiet = quiet.unquiet;
	return done;
}

/*
 * Under TCG the first line and the first look take milliseconds, because all that they
 * execute must be translated.  While the program starts there is time for that on
 * another processor; after its end the host waits.
 */
static void rehearse_end(void)
{
	read_taint();
	look_at_load();
	log_line("<7>harness-agent: the program has started\n");
}

/*
 * How long after a round time a test starts whose guest is recorded: its seed also decides where in
 * the test the ticks of the clock come.  Those of a schedule come where they always do under it.
 */
static uint64_t beyond_even_time(void)
{
	uint64_t number;

	if (!letter_left() || run.preempt)
		return 0;
	memcpy(&number, run.seed, sizeof(number));
	return le64toh(number) % MOST_BEYOND_NS;
}

static void run_test(int sigfd)
{
	struct job job = { .pipes = { -1, -1 }, .limit_ns = UINT64_MAX };
	uint64_t beyond = beyond_even_time();
	bool ended;

	/* The time limit of a recorded guest.  From here on it runs as one does that is not recorded. */
	while (letter_left())
		hear_host(&job);
	set_clock_and_seed();
	wait_for_even_time(beyond);
	mark(MARK_AGENT);
	if (!start_test(&job)) {
		int error = errno;

		if (run.preempt && job.pid)
			stop_to_preempt();
		mark_log_end();
		send_error(FRAME_ERROR_START, error, job.failed);
		return;
	}
	rehearse_end();
	ended = watch_test(&job, sigfd);
	if (run.preempt)
		stop_to_preempt();
	if (!ended || !bring_to_rest(&job, sigfd)) {
		/* Blocked tasks with their stacks, for whoever must find out why. */
		write_file("/proc/sysrq-trigger", "w");
		mark_log_end();
		send_error(FRAME_ERROR_UNKILLABLE, 0, run.argv[0]);
		return;
	}
	close_pipes(&job);
	if (run.watch_left)
		send_left(&(struct quiet){ .sigfd = sigfd }, job.pid);
	mark_log_end();
	send_exit(&job);
}

static void serve(int sigfd)
{
	struct frame_header header;
	struct cursor c;

	for (;;) {
		wait_for_host();
		read_header(&header);
		read_exactly(inbox, header.length);
		c = (struct cursor){ .at = inbox, .end = inbox + header.length };
		errno = EPROTO;
		if (header.type == FRAME_POWEROFF && !header.length)
			power_off();
		/* Sent while the run's end was under way. */
		if (header.type == FRAME_INPUT || header.type == FRAME_WINDOW ||
		    (header.type == FRAME_TIME_IS_UP && header.length == sizeof(uint64_t)))
			continue;
		if (header.type != FRAME_RUN || !parse_run(&c))
			give_up(FRAME_ERROR_PROTOCOL, "bad frame");
		run_test(sigfd);
	}
}

static void say_hello(const struct boot *boot)
{
	uint8_t *at = payload, id[64];
	struct utsname name;

	uname(&name);
	at = put_u64(at, clock_ns(CLOCK_REALTIME));
	at = put_u64(at, clock_ns(CLOCK_MONOTONIC));
	at = put_u32(at, boot->taint);
	at = put_u32(at, boot->flags);
	at = put_blob(at, id, read_build_id(id, sizeof(id)));
	at = put_string(at, name.sysname);
	at = put_string(at, name.release);
	at = put_string(at, name.version);
	send_frame(FRAME_HELLO, put_string(at, name.machine));
}

int main(void)
{
	struct boot boot = {};
	struct quiet quiet = {};
	sigset_t all;
	int sigfd;

	if (getpid() != 1) {
		fputs("harness-agent: runs as PID 1 of a guest only\n", stderr);
		return 2;
	}
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	reboot(RB_DISABLE_CAD);
	umask(0022);
	set_up_guest();
	sigemptyset(&all);
	sigaddset(&all, SIGCHLD);
	sigfd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sigfd < 0)
		give_up(FRAME_ERROR_AGENT, "signalfd");
	taint = open("/proc/sys/kernel/tainted", O_RDONLY | O_CLOEXEC);
	generator = open("/dev/urandom", O_RDWR | O_CLOEXEC);
	prepare_to_quiesce();
	open_port();
	quiet.sigfd = sigfd;
	settle(&quiet);
	boot.taint = known_taint = read_taint();
	boot.flags = look_at_boot(boot.taint);
	if (quiet.unquiet)
		boot.flags |= FRAME_BOOT_UNQUIET;
	/* What complains between the flags and this line shows in the log without its flag. */
	log_line("<7>harness-agent: ready\n");
	/* Before, as the snapshot may be made as soon as the host has heard it. */
	if (is_counted())
		put_up_letter_box();
	say_hello(&boot);
	serve(sigfd);
}
