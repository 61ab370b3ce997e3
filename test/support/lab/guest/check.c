/* What must still be true after a restore, and what must still work. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEEP_FILES 24        /* per disk */
#define DEEP_BYTES (8UL << 20) /* the largest file that `deep` rewrites */
#define APPENDED 5000UL

struct file *add_file(struct disk *disk, const char *path)
{
	if (!(disk->count & (disk->count - 1)) || !disk->files)
		disk->files = realloc(disk->files, (disk->count ? 2 * disk->count : 1) * sizeof *disk->files);
	struct file *file = &disk->files[disk->count++];
	*file = (struct file){ .path = strdup(path) };
	return file;
}

int forget_file(struct disk *disk, const char *path)
{
	for (size_t i = 0; i < disk->count; i++)
		if (!strcmp(disk->files[i].path, path))
			disk->files[i].cached = 0;
	return 0;
}

static int check_file(const struct file *file)
{
	uint64_t sum, size;

	if (sum_file(file->path, &sum, &size))
		return -1;
	if (size != file->size)
		return fail("%s has %llu bytes, not %llu", file->path, (unsigned long long)size,
			    (unsigned long long)file->size);
	return sum == file->sum ? 0 : fail("%s differs", file->path);
}

/* All differing files are counted: how many were hit says more than which was first. */
int check_files(void)
{
	size_t bad = 0;

	for (size_t d = 0; d < disk_count; d++)
		for (size_t i = 0; i < disks[d].count; i++)
			if (disks[d].files[i].cached && check_file(&disks[d].files[i]))
				bad++;
	if (!bad)
		return 0;
	size_t used = strlen(failure);
	snprintf(failure + used, sizeof failure - used, " (the last of %zu files)", bad);
	return -1;
}

static int alarming(const char *message)
{
	static const char *const signs[] = {
		"BUG", "WARNING", "Oops", "Call Trace", "I/O error", "Bad page", "bad page", "segfault",
		"general protection", "EXT4-fs error", "EXT4-fs warning", "SQUASHFS error", "BTRFS error",
		"BTRFS warning", "BTRFS critical", "orruption", "XFS: Assertion", "metadata I/O", "csum failed",
	};

	/* An emulated CPU that shares a busy host looks stuck without being so. */
	if (strstr(message, "soft lockup") || strstr(message, "rcu_"))
		return 0;
	for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
		if (strstr(message, signs[i]))
			return 1;
	return 0;
}

/* Every kernel message since boot; each read of /dev/kmsg gives one record. From the first that is alarming
 * on they are said as well, for registers and call traces stand in those that follow. */
int check_log(void)
{
	char record[8192];
	ssize_t n;
	int status = 0;
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		return fail("/dev/kmsg: %s", strerror(errno));
	while ((n = read(fd, record, sizeof record - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		if (n < 0)
			continue;
		record[n] = 0;
		record[strcspn(record, "\n")] = 0;
		const char *message = strchr(record, ';');
		if (!message)
			continue;
		if (!status && alarming(message + 1))
			status = fail("kernel log: %s", message + 1);
		if (status)
			printf("log: %s\n", message + 1);
	}
	close(fd);
	return status;
}

int drop_caches(void)
{
	sync();
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
	int bad = fd < 0 || write(fd, "3\n", 2) != 2;
	if (fd >= 0)
		close(fd);
	return bad ? fail("drop_caches: %s", strerror(errno)) : 0;
}

/* The true content comes from the disk, past the page cache that is under suspicion. */
static unsigned char *read_from_disk(const struct file *file)
{
	size_t room = (file->size + APPENDED + 2 * PAGE) & ~(PAGE - 1);
	unsigned char *bytes = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = open(file->path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	uint64_t have = 0;
	ssize_t n = 1;

	while (fd >= 0 && bytes != MAP_FAILED && have < file->size &&
	       (n = pread(fd, bytes + have, room - have, (off_t)have)) > 0)
		have += (uint64_t)n;
	if (fd >= 0)
		close(fd);
	if (bytes != MAP_FAILED && have == file->size && sum_bytes(0, bytes, have) == file->sum)
		return bytes;
	fail("%s: the disk itself holds something else", file->path);
	if (bytes != MAP_FAILED)
		munmap(bytes, room);
	return NULL;
}

static int put(int fd, unsigned char *model, uint64_t at, size_t length, uint64_t seed)
{
	unsigned char page[2 * PAGE];

	fill_page(page, seed);
	fill_page(page + PAGE, seed + 1);
	memcpy(model + at, page, length);
	return pwrite(fd, page, length, (off_t)at) == (ssize_t)length ? 0 : -1;
}

/* Writes that touch parts of pages: the kernel must merge them with what it believes the rest to be. */
static int rewrite(int fd, unsigned char *model, uint64_t *size)
{
	uint64_t cut = *size - *size / 3 - 1;

	for (uint64_t at = 1000; at + 200 < cut; at += 7 * PAGE)
		if (put(fd, model, at, 100, at))
			return -1;
	if (ftruncate(fd, (off_t)cut) || ftruncate(fd, (off_t)(cut + 700)))
		return -1;
	memset(model + cut, 0, 700);
	if (put(fd, model, cut + 700, APPENDED, cut))
		return -1;
	*size = cut + 700 + APPENDED;
	return fsync(fd);
}

static int write_through_map(int fd, unsigned char *model, uint64_t size)
{
	unsigned char *bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (bytes == MAP_FAILED)
		return -1;
	for (uint64_t at = 3 * PAGE + 5; at < size; at += 11 * PAGE)
		bytes[at] = model[at] = (unsigned char)(model[at] + 1);
	int status = msync(bytes, size, MS_SYNC);
	munmap(bytes, size);
	return status;
}

static int deep_file(struct file *file)
{
	size_t room = (file->size + APPENDED + 2 * PAGE) & ~(PAGE - 1);
	uint64_t size = file->size;
	unsigned char *model = read_from_disk(file);
	int status = 0;

	if (!model)
		return -1;
	int fd = open(file->path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || rewrite(fd, model, &size) || write_through_map(fd, model, size))
		status = fail("rewrite %s: %s", file->path, strerror(errno));
	file->size = size;
	file->sum = sum_bytes(0, model, size);
	if (fd >= 0)
		close(fd);
	munmap(model, room);
	return status;
}

static int deep_disk(struct disk *disk)
{
	unsigned done = 0;

	for (size_t i = 0; i < disk->count; i++) {
		struct file *file = &disk->files[i];
		/* What this guest wrote has other private state in its pages than what it only read: all of it is taken. */
		int written = strstr(file->path, "/pars-") != NULL;
		if (!written && (i % 3 || done >= DEEP_FILES))
			continue;
		if (!file->cached || file->mapped || file->size < 4 * PAGE || file->size > DEEP_BYTES)
			continue;
		if (deep_file(file))
			return -1;
		done++;
	}
	return 0;
}

int check_all(void)
{
	if (check_files() || check_maps() || check_anonymous() || check_shared() || check_tmpfs() ||
	    verify_workers())
		return -1;
	return check_log();
}

int deep(void)
{
	for (size_t d = 0; d < disk_count; d++)
		if (disks[d].writable && deep_disk(&disks[d]))
			return -1;
	if (check_files() || drop_caches())
		return -1;
	return check_all();
}
