// SPDX-License-Identifier: GPL-2.0-only
/* Userspace can neither read, write nor map what a restricted file holds. */
#include "restrictedmem.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

/* Reads as text even where it is the outcome of a mistake. */
static char buffer[16] = "selftest";

FIXTURE(io)
{
	int fd;
};

FIXTURE_SETUP(io)
{
	ASSERT_NEW_FILE(self->fd);
	/* With a size, so that no refusal is mere end of file. */
	ASSERT_EQ(0, ftruncate(self->fd, page_size()));
}

FIXTURE_TEARDOWN(io)
{
	close(self->fd);
}

/* Shows: B1.rw (from patch 3) */
TEST_F(io, read_is_einval)
{
	EXPECT_EQ(-EINVAL, sysret(read(self->fd, buffer, sizeof(buffer))));
}

/* Shows: B1.rw (from patch 3) */
TEST_F(io, readv_is_einval)
{
	struct iovec vec = { buffer, sizeof(buffer) };

	EXPECT_EQ(-EINVAL, sysret(readv(self->fd, &vec, 1)));
}

/* Shows: B1.rw (from patch 3) */
TEST_F(io, write_is_einval)
{
	EXPECT_EQ(-EINVAL, sysret(write(self->fd, buffer, sizeof(buffer))));
}

/* Shows: B1.rw (from patch 3) */
TEST_F(io, writev_is_einval)
{
	struct iovec vec = { buffer, sizeof(buffer) };

	EXPECT_EQ(-EINVAL, sysret(writev(self->fd, &vec, 1)));
}

/* Shows: B1.rw (from patch 3) */
TEST_F(io, pread_is_espipe)
{
	EXPECT_EQ(-ESPIPE, sysret(pread(self->fd, buffer, sizeof(buffer), 0)));
}

/* Shows: B1.rw (from patch 3) */
TEST_F(io, pwrite_is_espipe)
{
	EXPECT_EQ(-ESPIPE, sysret(pwrite(self->fd, buffer, sizeof(buffer), 0)));
}

/* Shows: B1.rw (from patch 3) */
TEST_F(io, lseek_is_espipe)
{
	EXPECT_EQ(-ESPIPE, sysret(lseek(self->fd, 0, SEEK_SET)));
	EXPECT_EQ(-ESPIPE, sysret(lseek(self->fd, 0, SEEK_CUR)));
	EXPECT_EQ(-ESPIPE, sysret(lseek(self->fd, 0, SEEK_END)));
	EXPECT_EQ(-ESPIPE, sysret(lseek(self->fd, 0, SEEK_DATA)));
	EXPECT_EQ(-ESPIPE, sysret(lseek(self->fd, 0, SEEK_HOLE)));
}

/* Shows: B1.rw (from patch 3) */
TEST_F(io, sendfile_from_it_is_einval)
{
	int pipefd[2];

	ASSERT_EQ(0, pipe(pipefd));
	EXPECT_EQ(-EINVAL, sysret(sendfile(pipefd[1], self->fd, NULL,
					   sizeof(buffer))));
	close(pipefd[0]);
	close(pipefd[1]);
}

/* Shows: B1.rw (from patch 3) */
TEST_F(io, splice_to_it_is_einval)
{
	int pipefd[2];

	ASSERT_EQ(0, pipe(pipefd));
	ASSERT_EQ((ssize_t)sizeof(buffer),
		  write(pipefd[1], buffer, sizeof(buffer)));
	EXPECT_EQ(-EINVAL, sysret(splice(pipefd[0], NULL, self->fd, NULL,
					 sizeof(buffer), 0)));
	close(pipefd[0]);
	close(pipefd[1]);
}

/* A second open would be a file with other abilities than the first. */
/* Shows: B1.reopen (from patch 3) */
TEST_F(io, reopen_through_proc_is_enxio)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	if (access("/proc/self/fd", F_OK))
		SKIP_CASE("/proc is not mounted");
	fd = open(path, O_RDWR);
	EXPECT_EQ(-ENXIO, sysret(fd));
	if (fd >= 0)
		close(fd);
}

/* Shows: B1.seals (from patch 3) */
TEST_F(io, get_seals_is_einval)
{
	EXPECT_EQ(-EINVAL, sysret(fcntl(self->fd, F_GET_SEALS)));
}

/* Shows: B1.seals (from patch 3) */
TEST_F(io, add_seals_is_einval)
{
	EXPECT_EQ(-EINVAL, sysret(fcntl(self->fd, F_ADD_SEALS, F_SEAL_GROW)));
}

FIXTURE(map)
{
	int fd;
};

FIXTURE_VARIANT(map)
{
	int flags;
};

FIXTURE_VARIANT_ADD(map, shared)
{
	.flags = MAP_SHARED,
};

FIXTURE_VARIANT_ADD(map, private)
{
	.flags = MAP_PRIVATE,
};

FIXTURE_SETUP(map)
{
	ASSERT_NEW_FILE(self->fd);
	ASSERT_EQ(0, ftruncate(self->fd, page_size()));
}

FIXTURE_TEARDOWN(map)
{
	close(self->fd);
}

/* Shows: B1.mmap (from patch 3) */
TEST_F(map, is_enodev)
{
	EXPECT_EQ(-ENODEV, sysret((long)mmap(NULL, page_size(),
					     PROT_READ | PROT_WRITE,
					     variant->flags, self->fd, 0)));
}

/* The file system is no-exec, and that is looked at before the file is. */
/* Shows: B1.mmap (from patch 3) */
TEST_F(map, executable_is_eperm)
{
	EXPECT_EQ(-EPERM, sysret((long)mmap(NULL, page_size(),
					    PROT_READ | PROT_EXEC,
					    variant->flags, self->fd, 0)));
}

TEST_HARNESS_MAIN
