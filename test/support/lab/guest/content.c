/* Known content: checksums, pages that are pseudo-random yet compressible, trees, manifests. */
#define _GNU_SOURCE
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (128UL << 10) /* a multiple of 8, so that chunking does not change a sum */

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ (x >> 31);
}

/*
 * A multiply-xor over 64-bit words: fast under emulation, and no zeroed, swapped or shifted page escapes it.
 */
uint64_t sum_bytes(uint64_t sum, const void *bytes, size_t length)
{
	const unsigned char *p = bytes;
	uint64_t word;

	for (; length >= 8; p += 8, length -= 8) {
		memcpy(&word, p, 8);
		sum = (sum ^ word) * 0x9e3779b97f4a7c15ULL;
		sum ^= sum >> 29;
	}
	if (length) {
		word = length;
		memcpy(&word, p, length);
		sum = (sum ^ word ^ (uint64_t)length << 56) * 0x9e3779b97f4a7c15ULL;
		sum ^= sum >> 29;
	}
	return sum;
}

static ssize_t read_full(int fd, unsigned char *buffer, size_t want)
{
	size_t have = 0;

	while (have < want) {
		ssize_t n = read(fd, buffer + have, want - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

int sum_file(const char *path, uint64_t *sum, uint64_t *size)
{
	static unsigned char buffer[CHUNK];
	ssize_t n;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fail("open %s: %s", path, strerror(errno));
	*sum = *size = 0;
	while ((n = read_full(fd, buffer, sizeof buffer)) > 0) {
		*sum = sum_bytes(*sum, buffer, (size_t)n);
		*size += (uint64_t)n;
	}
	close(fd);
	return n < 0 ? fail("read %s: %s", path, strerror(errno)) : 0;
}

static void fill_text(char *p, size_t length, uint64_t seed)
{
	static const char *const words[] = {
		"memory ", "snapshot ", "page ", "folio ", "the ", "of ", "guest ", "kernel\n",
		"static int ", "return ", "struct ", "0x", "{\n\t", "}\n", "inode->", "copy ",
	};
	size_t at = 0;

	while (at < length) {
		const char *word = words[(seed = mix(seed + 1)) & 15];
		size_t n = strlen(word);
		if (n > length - at)
			n = length - at;
		memcpy(p + at, word, n);
		at += n;
	}
}

static void fill_random(unsigned char *p, size_t length, uint64_t seed)
{
	for (size_t at = 0; at < length; at += 8) {
		seed = mix(seed + 0x9e3779b97f4a7c15ULL);
		memcpy(p + at, &seed, 8);
	}
}

static void fill_records(unsigned char *p, size_t length, uint64_t seed)
{
	for (size_t at = 0; at < length; at += 64) {
		memset(p + at, 0, 64);
		memcpy(p + at, &seed, 8);
		memcpy(p + at + 16, &at, 8);
	}
}

/*
 * A quarter each of text, noise, records and half-and-half; never a page of zeros, which a lost page would
 * equal.
 */
void fill_page(void *page, uint64_t seed)
{
	uint64_t kind = mix(seed);

	switch (kind & 3) {
	case 0: fill_text(page, PAGE, kind); break;
	case 1: fill_random(page, PAGE, kind); break;
	case 2: fill_records(page, PAGE, kind); break;
	default:
		fill_text(page, PAGE / 2, kind);
		fill_random((unsigned char *)page + PAGE / 2, PAGE / 2, kind);
	}
}

int write_pattern(const char *path, uint64_t bytes, uint64_t seed)
{
	unsigned char page[PAGE];
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		return fail("create %s: %s", path, strerror(errno));
	for (uint64_t at = 0; at < bytes; at += PAGE) {
		size_t n = bytes - at < PAGE ? (size_t)(bytes - at) : PAGE;
		fill_page(page, seed + at / PAGE);
		if (write(fd, page, n) != (ssize_t)n) {
			close(fd);
			return fail("write %s: %s", path, strerror(errno));
		}
	}
	return close(fd) ? fail("close %s: %s", path, strerror(errno)) : 0;
}

/* Sizes as they are found in the wild: many small files, and most of the bytes in a few large ones. */
static uint64_t file_size(uint64_t random)
{
	static const unsigned limits[8] = { 12, 14, 15, 16, 18, 20, 22, 23 };
	uint64_t limit = 1ULL << limits[random & 7];

	return limit / 2 + (random >> 8) % (limit / 2) + 1;
}

int generate_tree(const char *root, uint64_t bytes, uint64_t seed)
{
	char path[4096];
	uint64_t made = 0, size;

	for (unsigned i = 0; made < bytes; i++, made += size) {
		snprintf(path, sizeof path, "%s/d%u", root, i % 16);
		if (mkdir(path, 0755) && errno != EEXIST)
			return fail("mkdir %s: %s", path, strerror(errno));
		size = file_size(mix(seed * 1000003 + i));
		if (size > bytes - made)
			size = bytes - made;
		snprintf(path, sizeof path, "%s/d%u/f%u", root, i % 16, i);
		if (write_pattern(path, size, mix(seed + i)))
			return -1;
	}
	return 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int list_tree(FILE *out, const char *root, const char *below)
{
	char path[8300], relative[4096];
	struct dirent **entries;
	struct stat st;
	uint64_t sum, size;
	int status = 0;

	snprintf(path, sizeof path, "%s/%s", root, below);
	int count = scandir(path, &entries, NULL, by_name);
	if (count < 0)
		return fail("scandir %s: %s", path, strerror(errno));
	for (int i = 0; i < count && !status; i++) {
		const char *name = entries[i]->d_name;
		if (!strcmp(name, ".") || !strcmp(name, "..") || !strcmp(name, MANIFEST) || strchr(name, '\n'))
			continue;
		snprintf(relative, sizeof relative, "%s%s%s", below, *below ? "/" : "", name);
		snprintf(path, sizeof path, "%s/%s", root, relative);
		if (lstat(path, &st))
			status = fail("stat %s: %s", path, strerror(errno));
		else if (S_ISDIR(st.st_mode))
			status = list_tree(out, root, relative);
		else if (S_ISREG(st.st_mode) && st.st_size && !(status = sum_file(path, &sum, &size)))
			fprintf(out, "%016llx %llu %s\n", (unsigned long long)sum, (unsigned long long)size, relative);
	}
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
	return status;
}

int write_manifest(const char *root)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/" MANIFEST, root);
	FILE *out = fopen(path, "w");
	if (!out)
		return fail("create %s: %s", path, strerror(errno));
	int status = list_tree(out, root, "");
	return fclose(out) ? fail("write %s: %s", path, strerror(errno)) : status;
}

int read_manifest(struct disk *disk)
{
	char line[4200], path[4300];
	unsigned long long sum, size;
	int name_at;

	snprintf(path, sizeof path, "%s/" MANIFEST, disk->root);
	FILE *in = fopen(path, "r");
	if (!in)
		return errno == ENOENT ? 0 : fail("open %s: %s", path, strerror(errno));
	while (fgets(line, sizeof line, in)) {
		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "%llx %llu %n", &sum, &size, &name_at) != 2)
			continue;
		snprintf(path, sizeof path, "%s/%s", disk->root, line + name_at);
		struct file *file = add_file(disk, path);
		file->sum = sum;
		file->size = size;
	}
	fclose(in);
	return 0;
}
