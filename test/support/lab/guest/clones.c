/* Files that share their blocks with others: a write into either must leave the other as it was. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CLONE_LEAST (64UL << 10)
#define CLONE_MOST (2UL << 20)

static int clone_file(struct disk *disk, size_t nth)
{
	char path[128];
	struct file from = disk->files[nth];

	snprintf(path, sizeof path, "%s/pars-clone-%zu", disk->root, nth);
	int source = open(from.path, O_RDONLY | O_CLOEXEC);
	int into = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int bad = source < 0 || into < 0 || ioctl(into, FICLONE, source) || fsync(into);
	int error = errno;
	if (source >= 0)
		close(source);
	if (into >= 0)
		close(into);
	if (bad)
		return fail("clone %s: %s", from.path, strerror(error));
	struct file *file = add_file(disk, path);
	file->cached = 1;
	if (sum_file(path, &file->sum, &file->size))
		return -1;
	return file->sum == from.sum ? 0 : fail("%s is not what it was cloned from", path);
}

/* `deep` rewrites every clone, and of the files every third: there are shared blocks of each kind. */
int clone_files(unsigned per_disk)
{
	for (size_t d = 0; d < disk_count; d++) {
		struct disk *disk = &disks[d];
		size_t count = disk->count;
		unsigned done = 0;
		for (size_t i = 0; i < count && disk->writable && done < per_disk; i++) {
			const struct file *file = &disk->files[i];
			if (!file->cached || file->mapped || file->size < CLONE_LEAST || file->size > CLONE_MOST)
				continue;
			if (clone_file(disk, i))
				return -1;
			done++;
		}
		if (disk->writable && done < per_disk)
			return fail("%s has only %u files to clone", disk->root, done);
	}
	return 0;
}
