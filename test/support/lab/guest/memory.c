/* Memory that has no copy on any disk, and files that stay mapped. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define ANON_SEED 0xa11ceULL
#define SHARED_SEED 0x5a3edULL
#define TMPFS_SEED 0x7e3f5ULL
#define TMPFS_FILES 4

struct region {
	unsigned char *bytes;
	uint64_t length, seed;
};

struct map {
	const struct file *file;
	const unsigned char *bytes;
};

static struct region anonymous, shared;
static uint64_t tmpfs_file_bytes;
static struct map maps[MAX_DISKS * MAX_MAPS];
static size_t map_count;

static int hold(struct region *region, uint64_t bytes, int flags, uint64_t seed)
{
	void *memory = mmap(NULL, bytes ? bytes : PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return fail("memory: %s", strerror(errno));
	*region = (struct region){ memory, bytes, seed };
	for (uint64_t at = 0; at < bytes; at += PAGE)
		fill_page(region->bytes + at, seed + at);
	return 0;
}

static int check_region(const struct region *region, const char *what)
{
	static unsigned char expected[PAGE];

	for (uint64_t at = 0; at < region->length; at += PAGE) {
		fill_page(expected, region->seed + at);
		if (memcmp(expected, region->bytes + at, PAGE))
			return fail("%s memory differs at %llu", what, (unsigned long long)at);
	}
	return 0;
}

/* What a machine that was in use has in its free memory: anything. */
int use_and_free(uint64_t bytes)
{
	struct region region;

	if (bytes == 0)
		return 0;
	if (hold(&region, bytes, MAP_PRIVATE, ANON_SEED))
		return -1;
	munmap(region.bytes, region.length);
	return 0;
}

int hold_anonymous(uint64_t bytes)
{
	return hold(&anonymous, bytes, MAP_PRIVATE, ANON_SEED);
}

int hold_shared(uint64_t bytes)
{
	return hold(&shared, bytes, MAP_SHARED, SHARED_SEED);
}

int check_anonymous(void)
{
	return check_region(&anonymous, "anonymous");
}

int check_shared(void)
{
	return check_region(&shared, "shared");
}

int hold_tmpfs(uint64_t bytes)
{
	char path[64];

	mkdir("/tmpfs", 0755);
	if (mount("tmpfs", "/tmpfs", "tmpfs", 0, ""))
		return fail("mount tmpfs: %s", strerror(errno));
	tmpfs_file_bytes = bytes / TMPFS_FILES;
	for (int i = 0; i < TMPFS_FILES; i++) {
		snprintf(path, sizeof path, "/tmpfs/f%d", i);
		if (write_pattern(path, tmpfs_file_bytes, TMPFS_SEED + (uint64_t)i * 100000))
			return -1;
	}
	return 0;
}

static int check_tmpfs_file(const char *path, uint64_t seed)
{
	static unsigned char expected[PAGE], found[PAGE];
	int fd = open(path, O_RDONLY | O_CLOEXEC), status = 0;

	if (fd < 0)
		return fail("open %s: %s", path, strerror(errno));
	for (uint64_t at = 0; at < tmpfs_file_bytes && !status; at += PAGE) {
		size_t n = tmpfs_file_bytes - at < PAGE ? (size_t)(tmpfs_file_bytes - at) : PAGE;
		fill_page(expected, seed + at / PAGE);
		if (pread(fd, found, n, (off_t)at) != (ssize_t)n || memcmp(expected, found, n))
			status = fail("%s differs at %llu", path, (unsigned long long)at);
	}
	close(fd);
	return status;
}

int check_tmpfs(void)
{
	char path[64];

	for (int i = 0; i < TMPFS_FILES; i++) {
		snprintf(path, sizeof path, "/tmpfs/f%d", i);
		if (check_tmpfs_file(path, TMPFS_SEED + (uint64_t)i * 100000))
			return -1;
	}
	return 0;
}

static int hold_map(struct file *file, int flags)
{
	int fd = open(file->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fail("open %s: %s", file->path, strerror(errno));
	void *bytes = mmap(NULL, file->size, PROT_READ, flags | MAP_POPULATE, fd, 0);
	close(fd);
	if (bytes == MAP_FAILED)
		return fail("map %s: %s", file->path, strerror(errno));
	file->mapped = 1;
	maps[map_count++] = (struct map){ file, bytes };
	return 0;
}

/* Half of them shared, half private. Only files that are cached and span many pages. */
int hold_maps(unsigned per_disk)
{
	for (size_t d = 0; d < disk_count; d++) {
		unsigned held = 0;
		for (size_t i = 0; i < disks[d].count && held < per_disk && held < MAX_MAPS; i++) {
			struct file *file = &disks[d].files[i];
			if (!file->cached || file->size < 16 * PAGE)
				continue;
			if (hold_map(file, held++ & 1 ? MAP_PRIVATE : MAP_SHARED))
				return -1;
		}
	}
	return 0;
}

int check_maps(void)
{
	for (size_t i = 0; i < map_count; i++)
		if (sum_bytes(0, maps[i].bytes, maps[i].file->size) != maps[i].file->sum)
			return fail("mapping of %s differs", maps[i].file->path);
	return 0;
}
