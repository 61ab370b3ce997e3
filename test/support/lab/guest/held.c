/* Memory that looks like clean page cache and is not safe to lose, each page with a name on it that can be
 * found in an image; and, as the control, pages that are safe to lose. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define HELD_PAGES 8UL
#define HELD_BYTES (HELD_PAGES * PAGE)
#define HUGE_BYTES (2UL << 20)
#define SWAP_PAGES 512UL

static void name_page(unsigned char *page, const char *kind, size_t nth)
{
	fill_page(page, nth + 1000 * (uint64_t)kind[0] + (uint64_t)kind[1]);
	memset(page, 0, 64);
	snprintf((char *)page, 64, "PARS-HELD %s %zu", kind, nth);
}

static void name_pages(unsigned char *bytes, const char *kind)
{
	for (size_t i = 0; i < HELD_PAGES; i++)
		name_page(bytes + i * PAGE, kind, i);
}

static unsigned char *memory(uint64_t bytes, int flags)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | flags, -1, 0);

	return at == MAP_FAILED ? NULL : at;
}

/* Returns an open, synced file whose pages are read from the disk, not written. */
static int make_file(const char *directory, const char *kind)
{
	static unsigned char bytes[HELD_BYTES];
	char path[128];

	snprintf(path, sizeof path, "%s/held-%s", directory, kind);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	name_pages(bytes, kind);
	if (fd < 0 || write(fd, bytes, HELD_BYTES) != (ssize_t)HELD_BYTES || fsync(fd))
		return fail("write %s: %s", path, strerror(errno));
	/* No copy of the names may stay behind in this process. */
	memset(bytes, 0, sizeof bytes);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	return fd;
}

static int read_file(int fd)
{
	unsigned char page[PAGE];
	int status = 0;

	for (size_t i = 0; i < HELD_PAGES && !status; i++)
		status = pread(fd, page, PAGE, (off_t)(i * PAGE)) != (ssize_t)PAGE;
	memset(page, 0, sizeof page);
	__asm__ volatile("" : : "r"(page) : "memory");
	return status;
}

static int hold_control(void)
{
	return read_file(make_file(disks[0].root, "control"));
}

static int hold_ram_files(void)
{
	mkdir("/ramfs", 0755);
	if (mount("ramfs", "/ramfs", "ramfs", 0, ""))
		return -1;
	return make_file("/ramfs", "ramfs") < 0 || make_file("/tmpfs", "tmpfs") < 0 || make_file("/", "rootfs") < 0;
}

static int hold_locked(void)
{
	int fd = make_file(disks[0].root, "mlocked");
	void *at = mmap(NULL, HELD_BYTES, PROT_READ, MAP_SHARED, fd, 0);

	return at == MAP_FAILED || mlock(at, HELD_BYTES);
}

/* A pipe holds the cache's own pages, unread. */
static int hold_spliced(void)
{
	int ends[2], fd = make_file(disks[0].root, "spliced");
	loff_t from = 0;

	if (read_file(fd) || pipe(ends))
		return -1;
	for (size_t left = HELD_BYTES; left;) {
		ssize_t n = splice(fd, &from, ends[1], NULL, left, 0);
		if (n <= 0)
			return -1;
		left -= (size_t)n;
	}
	return 0;
}

static int hold_vmspliced(void)
{
	int ends[2], fd = make_file(disks[0].root, "vmspliced");
	void *at = mmap(NULL, HELD_BYTES, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	struct iovec piece = { at, HELD_BYTES };

	if (at == MAP_FAILED || pipe(ends) || vmsplice(ends[1], &piece, 1, 0) != (ssize_t)HELD_BYTES)
		return -1;
	return munmap(at, HELD_BYTES);
}

/* Registered with io_uring and then mapped nowhere. */
static int hold_registered(void)
{
	struct io_uring_params parameters = { 0 };
	unsigned char *bytes = memory(HELD_BYTES, MAP_PRIVATE);
	struct iovec piece = { bytes, HELD_BYTES };
	long ring = syscall(SYS_io_uring_setup, 4, &parameters);

	if (!bytes || ring < 0)
		return -1;
	name_pages(bytes, "io_uring");
	if (syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &piece, 1))
		return -1;
	return munmap(bytes, HELD_BYTES);
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int bad = fd < 0 || write(fd, text, strlen(text)) < 0;

	if (fd >= 0)
		close(fd);
	return bad;
}

static int hold_huge(void)
{
	if (put("/proc/sys/vm/nr_hugepages", "2"))
		return -1;
	unsigned char *bytes = memory(HUGE_BYTES, MAP_PRIVATE | MAP_HUGETLB);
	if (!bytes)
		return -1;
	name_pages(bytes, "hugetlb");
	unsigned char *both = memory(2 * HUGE_BYTES, MAP_PRIVATE);
	if (!both || put("/sys/kernel/mm/transparent_hugepage/enabled", "madvise"))
		return -1;
	bytes = (unsigned char *)(((uintptr_t)both + HUGE_BYTES - 1) & ~(HUGE_BYTES - 1));
	if (madvise(bytes, HUGE_BYTES, MADV_HUGEPAGE))
		return -1;
	name_pages(bytes, "thp");
	return 0;
}

static int hold_secret(void)
{
	int fd = (int)syscall(447 /* memfd_secret */, 0);

	if (fd < 0 || ftruncate(fd, (off_t)HELD_BYTES))
		return -1;
	unsigned char *bytes = mmap(NULL, HELD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bytes == MAP_FAILED)
		return -1;
	name_pages(bytes, "secretmem");
	return 0;
}

static long shared_by_ksm(void)
{
	long pages = 0;
	FILE *in = fopen("/sys/kernel/mm/ksm/pages_sharing", "r");

	if (!in || fscanf(in, "%ld", &pages) != 1)
		pages = -1;
	if (in)
		fclose(in);
	return pages;
}

/* KSM looks at a page twice before it merges it: asked again until it has, it scans all the while. */
static int hold_merged(void)
{
	unsigned char *one = memory(HELD_BYTES, MAP_PRIVATE), *other = memory(HELD_BYTES, MAP_PRIVATE);

	if (!one || !other)
		return -1;
	name_pages(one, "ksm");
	name_pages(other, "ksm");
	if (madvise(one, HELD_BYTES, MADV_MERGEABLE) || madvise(other, HELD_BYTES, MADV_MERGEABLE))
		return -1;
	if (put("/sys/kernel/mm/ksm/sleep_millisecs", "1") || put("/sys/kernel/mm/ksm/run", "1"))
		return -1;
	for (int i = 0; shared_by_ksm() < (long)HELD_PAGES; i++)
		if (i > 20000 || usleep(1000))
			return -1;
	return put("/sys/kernel/mm/ksm/run", "0");
}

/* Swapped out and read back: in the swap cache, clean, with a copy on the disk that the swap file owns. */
static int hold_swap_cache(void)
{
	static unsigned char page[PAGE];
	char path[96];
	unsigned char *bytes = memory(HELD_BYTES, MAP_PRIVATE);
	int status = 0;

	snprintf(path, sizeof path, "%s/held-swap", disks[0].root);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	uint32_t header[3] = { 1, SWAP_PAGES - 1, 0 };
	for (size_t i = 0; fd >= 0 && i < SWAP_PAGES && !status; i++)
		status = write(fd, page, PAGE) != (ssize_t)PAGE;
	memcpy(page + 1024, header, sizeof header);
	memcpy(page + PAGE - 10, "SWAPSPACE2", 10);
	if (!bytes || fd < 0 || status || pwrite(fd, page, PAGE, 0) != (ssize_t)PAGE || fsync(fd) || swapon(path, 0))
		return -1;
	close(fd);
	name_pages(bytes, "swapcache");
	if (madvise(bytes, HELD_BYTES, 21 /* MADV_PAGEOUT */))
		return -1;
	for (size_t i = 0; i < HELD_PAGES; i++)
		status |= ((volatile unsigned char *)bytes)[i * PAGE];
	return 0;
}

/* A file's blocks, read through the disk itself. */
static int hold_device_cache(void)
{
	char path[32];
	struct stat st;
	unsigned char page[PAGE];
	int status = 0, fd = make_file(disks[0].root, "blockdev");

	snprintf(path, sizeof path, "/dev/%s", disks[0].device);
	int disk = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || disk < 0 || fstat(fd, &st))
		return -1;
	for (size_t i = 0; i < HELD_PAGES && !status; i++) {
		int block = (int)(i * PAGE / (size_t)st.st_blksize);
		status = ioctl(fd, FIBMAP, &block) ||
			 pread(disk, page, PAGE, (off_t)block * st.st_blksize) != (ssize_t)PAGE;
	}
	memset(page, 0, sizeof page);
	__asm__ volatile("" : : "r"(page) : "memory");
	return status; /* the device stays open, or its cache would go */
}

int hold_all(void)
{
	static const struct { const char *kind; int (*hold)(void); } kinds[] = {
		{ "control", hold_control }, { "ram files", hold_ram_files }, { "mlocked", hold_locked },
		{ "spliced", hold_spliced }, { "vmspliced", hold_vmspliced }, { "io_uring", hold_registered },
		{ "huge pages", hold_huge }, { "secretmem", hold_secret }, { "ksm", hold_merged },
		{ "swap cache", hold_swap_cache }, { "block device", hold_device_cache },
	};

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (kinds[i].hold())
			return fail("hold %s: %s", kinds[i].kind, strerror(errno));
	return 0;
}
