// SPDX-License-Identifier: GPL-2.0-only
/* Death by each common signal, by its real cause where it has one; always after a green report. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "faults.h"

static int die(int signal)
{
	say(GREEN);
	raise(signal);
	return not_provoked("the signal");
}

FAULT(signal_hup)
{
	return die(SIGHUP);
}

FAULT(signal_int)
{
	return die(SIGINT);
}

FAULT(signal_quit)
{
	return die(SIGQUIT);
}

FAULT(signal_ill)
{
	say(GREEN);
	__builtin_trap();
}

FAULT(signal_trap)
{
	return die(SIGTRAP);
}

FAULT(signal_abrt)
{
	say(GREEN);
	abort();
}

/* A page of a mapped file beyond the file's end. */
FAULT(signal_bus)
{
	int fd = open("/tmp/empty", O_RDWR | O_CREAT, 0600);
	volatile char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	say(GREEN);
	if (page == MAP_FAILED)
		return not_provoked("mmap");
	return *page;
}

FAULT(signal_fpe)
{
	/* Both volatile: the compiler knows what 1 divided by anything is. */
	volatile int one = 1, zero = 0;

	say(GREEN);
	return one / zero;
}

FAULT(signal_kill)
{
	return die(SIGKILL);
}

FAULT(signal_usr1)
{
	return die(SIGUSR1);
}

FAULT(signal_segv)
{
	int *volatile nowhere = NULL;

	say(GREEN);
	return *nowhere;
}

FAULT(signal_usr2)
{
	return die(SIGUSR2);
}

FAULT(signal_pipe)
{
	int ends[2];

	say(GREEN);
	if (pipe(ends))
		return not_provoked("pipe");
	close(ends[0]);
	return write(ends[1], "x", 1) == 1 ? KSFT_PASS : not_provoked("the signal");
}

FAULT(signal_alrm)
{
	say(GREEN);
	alarm(1);
	pause();
	return not_provoked("the signal");
}

FAULT(signal_term)
{
	return die(SIGTERM);
}

FAULT(signal_xcpu)
{
	return die(SIGXCPU);
}

FAULT(signal_xfsz)
{
	const struct rlimit limit = { 1, 1 };
	int fd = open("/tmp/file", O_WRONLY | O_CREAT, 0600);

	say(GREEN);
	setrlimit(RLIMIT_FSIZE, &limit);
	if (write(fd, "xx", 2) != 1)
		return not_provoked("the file");
	return write(fd, "x", 1) == 1 ? KSFT_PASS : not_provoked("the signal");
}

FAULT(signal_sys)
{
	return die(SIGSYS);
}

FAULT(signal_rtmin)
{
	return die(SIGRTMIN);
}

/* The core dump must neither hold up anything nor become anyone's file. */
FAULT(signal_with_core_dump)
{
	const struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_CORE, &all);
	return die(SIGQUIT);
}

FAULT(stop_oneself)
{
	return die(SIGSTOP);
}
