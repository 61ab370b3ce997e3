/* The kernel's own account of its pages, from /proc/kpageflags and /proc/kpagecount. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* Bits of /proc/kpageflags: include/uapi/linux/kernel-page-flags.h; 32 and up are kernel-internal. */
enum {
	LOCKED = 0, UPTODATE = 3, DIRTY = 4, LRU = 5, SLAB = 7, WRITEBACK = 8, BUDDY = 10, MMAP = 11, ANON = 12,
	SWAPBACKED = 14, COMPOUND_HEAD = 15, COMPOUND_TAIL = 16, HUGE = 17, UNEVICTABLE = 18, HWPOISON = 19,
	NOPAGE = 20, OFFLINE = 23, PGTABLE = 26, RESERVED = 32, PRIVATE = 36,
};

#define BIT(n) (1ULL << (n))
/* A power of two that no folio straddles. Static, so that counting the pages does not change the counts. */
#define BATCH 65536
static uint64_t flags[BATCH], mapcount[BATCH];

struct counts {
	uint64_t present, free, clean, clean_large, clean_private, dirty, mapped_file, other_file, anon, shmem;
	uint64_t slab, pgtable, reserved, huge, offline, other;
};

/* Pages of the batch that begins at FROM; 0 past the end of memory. */
static size_t read_batch(int fd, uint64_t *words, size_t from)
{
	size_t have = 0;
	ssize_t n = 1;

	while (have < BATCH * 8 && n > 0) {
		n = pread(fd, (char *)words + have, BATCH * 8 - have, (off_t)(from * 8 + have));
		have += n > 0 ? (size_t)n : 0;
	}
	return have / 8;
}

static int flag(uint64_t word, int bit)
{
	return (word & BIT(bit)) != 0;
}

static int clean_file(uint64_t f, int mapped)
{
	uint64_t must = BIT(LRU) | BIT(UPTODATE);
	uint64_t never = BIT(DIRTY) | BIT(WRITEBACK) | BIT(LOCKED) | BIT(ANON) | BIT(SWAPBACKED) | BIT(MMAP) |
			 BIT(UNEVICTABLE) | BIT(HWPOISON) | BIT(HUGE);

	return (f & must) == must && !(f & never) && !mapped;
}

static void count_file(struct counts *c, uint64_t f, int mapped, uint64_t pages)
{
	if (clean_file(f, mapped)) {
		c->clean += pages;
		c->clean_large += pages > 1 ? pages : 0;
		c->clean_private += flag(f, PRIVATE) ? pages : 0;
	} else if (flag(f, DIRTY) || flag(f, WRITEBACK)) {
		c->dirty += pages;
	} else if (mapped || flag(f, MMAP)) {
		c->mapped_file += pages;
	} else {
		c->other_file += pages;
	}
}

static void count_folio(struct counts *c, uint64_t f, int mapped, uint64_t pages)
{
	if (flag(f, BUDDY))
		c->free += pages;
	else if (flag(f, OFFLINE))
		c->offline += pages;
	else if (flag(f, SLAB))
		c->slab += pages;
	else if (flag(f, PGTABLE))
		c->pgtable += pages;
	else if (flag(f, HUGE))
		c->huge += pages;
	else if (flag(f, ANON))
		c->anon += pages;
	else if (flag(f, LRU) && flag(f, SWAPBACKED))
		c->shmem += pages;
	else if (flag(f, LRU))
		count_file(c, f, mapped, pages);
	else if (flag(f, RESERVED))
		c->reserved += pages;
	else
		c->other += pages;
}

/* Old kernels report LRU and uptodate only on the head of a compound page: the head speaks for its tails. */
static void count_batch(struct counts *c, size_t count)
{
	size_t end;

	for (size_t i = 0; i < count; i = end) {
		uint64_t f = flags[i];
		int mapped = mapcount[i] != 0 && !flag(f, SLAB);

		end = i + 1;
		if (flag(f, NOPAGE))
			continue;
		while (flag(f, COMPOUND_HEAD) && end < count && flag(flags[end], COMPOUND_TAIL)) {
			mapped |= mapcount[end] != 0;
			end++;
		}
		c->present += end - i;
		count_folio(c, f, mapped, end - i);
	}
}

static int count_pages(struct counts *c)
{
	int f = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	int m = open("/proc/kpagecount", O_RDONLY | O_CLOEXEC);
	size_t from = 0, count;

	if (f < 0 || m < 0)
		return fail("/proc/kpageflags: %s", strerror(errno));
	while ((count = read_batch(f, flags, from)) > 0 && read_batch(m, mapcount, from) == count) {
		count_batch(c, count);
		from += count;
	}
	close(f);
	close(m);
	return 0;
}

int print_kpageflags(FILE *out)
{
	struct counts c = { 0 };

	if (count_pages(&c))
		return -1;
#define FIELD(name) "\"" #name "\":%llu"
#define VALUE(name) (unsigned long long)c.name
	fprintf(out, "PARS-KPF {" FIELD(present) "," FIELD(free) "," FIELD(clean) "," FIELD(clean_large) ","
		FIELD(clean_private) "," FIELD(dirty) "," FIELD(mapped_file) "," FIELD(other_file) "," FIELD(anon) ","
		FIELD(shmem) "," FIELD(slab) "," FIELD(pgtable) "," FIELD(reserved) "," FIELD(huge) "," FIELD(offline) ","
		FIELD(other) "}\n",
		VALUE(present), VALUE(free), VALUE(clean), VALUE(clean_large), VALUE(clean_private), VALUE(dirty),
		VALUE(mapped_file), VALUE(other_file), VALUE(anon), VALUE(shmem), VALUE(slab), VALUE(pgtable),
		VALUE(reserved), VALUE(huge), VALUE(offline), VALUE(other));
	return 0;
}
