// SPDX-License-Identifier: GPL-2.0-only
/* The kernel crashes or complains, while the test says that all is well. */
#include <stdio.h>
#include <unistd.h>

#include "faults.h"

FAULT(kernel_oops)
{
	say(GREEN);
	return provoke("EXCEPTION");
}

FAULT(kernel_panic)
{
	say(GREEN);
	return provoke("PANIC");
}

FAULT(kernel_bug)
{
	say(GREEN);
	return provoke("BUG");
}

FAULT(kernel_warning)
{
	say(GREEN);
	return provoke("WARNING");
}

FAULT(kernel_warning_with_message)
{
	say(GREEN);
	return provoke("WARNING_MESSAGE");
}

/* The test's own word against the kernel weighs more than the kernel's complaint. */
FAULT(kernel_warning_and_failure)
{
	provoke("WARNING");
	say("TAP version 13\n1..1\nnot ok 1 it_is_wrong\n");
	return KSFT_FAIL;
}

FAULT(kernel_warning_and_skip)
{
	provoke("WARNING");
	say("TAP version 13\n1..0 # SKIP not here\n");
	return KSFT_SKIP;
}

FAULT(panic_on_warn)
{
	say(GREEN);
	if (!write_file("/proc/sys/kernel/panic_on_warn", "1"))
		return not_provoked("panic_on_warn");
	return provoke("WARNING");
}

FAULT(write_to_read_only_memory)
{
	say(GREEN);
	return provoke("WRITE_RO");
}

FAULT(execute_data)
{
	say(GREEN);
	return provoke("EXEC_DATA");
}

FAULT(stack_overflow)
{
	say(GREEN);
	return provoke("EXHAUST_STACK");
}

FAULT(stack_corruption)
{
	say(GREEN);
	return provoke("CORRUPT_STACK");
}

FAULT(list_add_corruption)
{
	say(GREEN);
	return provoke("CORRUPT_LIST_ADD");
}

FAULT(list_del_corruption)
{
	say(GREEN);
	return provoke("CORRUPT_LIST_DEL");
}

FAULT(refcount_overflow)
{
	say(GREEN);
	return provoke("REFCOUNT_INC_OVERFLOW");
}

FAULT(refcount_from_zero)
{
	say(GREEN);
	return provoke("REFCOUNT_INC_ZERO");
}

FAULT(refcount_underflow)
{
	say(GREEN);
	return provoke("REFCOUNT_SUB_AND_TEST_NEGATIVE");
}

FAULT(usercopy_overflow)
{
	say(GREEN);
	return provoke("USERCOPY_STACK_BEYOND");
}

FAULT(fortify_overflow)
{
	say(GREEN);
	return provoke("FORTIFY_STRSCPY");
}

FAULT(stack_guard_page)
{
	say(GREEN);
	return provoke("STACK_GUARD_PAGE_LEADING");
}

/* A process that does not belong to the test: nothing of it dies of the fault. */
FAULT(oops_in_a_child)
{
	say(GREEN);
	if (!fork()) {
		provoke("EXCEPTION");
		_exit(0);
	}
	sleep_ms(300);
	return KSFT_PASS;
}

FAULT(sysrq_crash)
{
	say(GREEN);
	return write_file("/proc/sysrq-trigger", "c") ? KSFT_PASS : not_provoked("sysrq");
}

/* Nobody can tell it from the kernel's: every writer of the log writes to the same console. */
FAULT(oops_written_to_kmsg)
{
	say(GREEN);
	write_file("/dev/kmsg",
		   "<1>BUG: kernel NULL pointer dereference, address: 0000000000000000\n");
	return KSFT_PASS;
}

FAULT(harmless_words_in_kmsg)
{
	say(GREEN);
	write_file("/dev/kmsg", "<0>this is no oops, only a test that talks of panic and BUG\n");
	return KSFT_PASS;
}

FAULT(oops_printed_to_stdout)
{
	say("# BUG: kernel NULL pointer dereference, address: 0000000000000000\n");
	say("[    1.000000][   T99] Kernel panic - not syncing: says the test\n");
	say(GREEN);
	return KSFT_PASS;
}

/* What looks like the agent's last line in the log must not end the log. */
FAULT(forged_end_of_log)
{
	say(GREEN);
	write_file("/dev/kmsg", "<7>harness-agent: end 00000000000000000000000000000000\n");
	return provoke("WARNING");
}

FAULT(flood_of_log_then_warning)
{
	char line[300];

	say(GREEN);
	for (int i = 0; i < 3000; i++) {
		snprintf(line, sizeof(line), "<6>%0200d\n", i);
		if (!write_file("/dev/kmsg", line))
			return not_provoked("/dev/kmsg");
	}
	return provoke("WARNING");
}

/* The console is back before the end; the flag that came with the words is not gone. */
FAULT(warning_while_console_was_off)
{
	say(GREEN);
	if (!write_file("/sys/module/printk/parameters/ignore_loglevel", "N") ||
	    !write_file("/proc/sys/kernel/printk", "1"))
		return not_provoked("log level");
	provoke("WARNING");
	if (!write_file("/proc/sys/kernel/printk", "8") ||
	    !write_file("/sys/module/printk/parameters/ignore_loglevel", "Y"))
		return not_provoked("log level");
	return KSFT_PASS;
}

/*
 * A warning that is to be read does not account for an oops that is not. Any log
 * level but 0 would be raised for the oops.
 */
FAULT(oops_hidden_behind_a_warning)
{
	say(GREEN);
	provoke("WARNING");
	if (!write_file("/sys/module/printk/parameters/ignore_loglevel", "N") ||
	    !write_file("/proc/sys/kernel/printk", "0"))
		return not_provoked("log level");
	if (!fork()) {
		provoke("EXCEPTION");
		_exit(0);
	}
	sleep_ms(300);
	if (!write_file("/proc/sys/kernel/printk", "8") ||
	    !write_file("/sys/module/printk/parameters/ignore_loglevel", "Y"))
		return not_provoked("log level");
	return KSFT_PASS;
}

/* Both are root's to do. What the kernel said after that, nobody knows. */
FAULT(console_switched_off)
{
	say(GREEN);
	if (!write_file("/sys/module/printk/parameters/ignore_loglevel", "N") ||
	    !write_file("/proc/sys/kernel/printk", "1"))
		return not_provoked("log level");
	provoke("WARNING");
	return KSFT_PASS;
}
