/* Modules, disks and the page cache filled from them. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

struct disk disks[MAX_DISKS];
size_t disk_count;

static int load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fail("module %s: %s", path, strerror(errno));
	long status = syscall(SYS_finit_module, fd, "", 0);
	int error = errno;
	close(fd);
	return status && error != EEXIST ? fail("module %s: %s", path, strerror(error)) : 0;
}

/* /modules/NAME.list names the files to load, dependencies first; none means built in. */
int load_modules(const char *list)
{
	char path[300], line[256];
	int status = 0;

	snprintf(path, sizeof path, "/modules/%s.list", list);
	FILE *in = fopen(path, "r");
	while (in && !status && fgets(line, sizeof line, in)) {
		line[strcspn(line, "\n")] = 0;
		snprintf(path, sizeof path, "/modules/%s", line);
		status = load_module(path);
	}
	if (in)
		fclose(in);
	return status;
}

static const char *probe(const char *device)
{
	static const struct { const char *fs; long at; const char *magic; } kinds[] = {
		{ "xfs", 0, "XFSB" },
		{ "squashfs", 0, "hsqs" },
		{ "ext4", 0x438, "\x53\xef" },
		{ "btrfs", 0x10040, "_BHRfS_M" },
	};
	char found[8];
	const char *fs = NULL;
	int fd = open(device, O_RDONLY | O_CLOEXEC);

	for (size_t i = 0; fd >= 0 && !fs && i < sizeof kinds / sizeof *kinds; i++) {
		size_t n = strlen(kinds[i].magic);
		if (pread(fd, found, n, kinds[i].at) == (ssize_t)n && !memcmp(found, kinds[i].magic, n))
			fs = kinds[i].fs;
	}
	if (fd >= 0)
		close(fd);
	return fs;
}

static int mount_disk(const char *device)
{
	struct disk *disk = &disks[disk_count];
	char name[32];
	const char *fs = probe(device);

	if (!fs)
		return fail("%s: no file system known here", device);
	if (load_modules(fs))
		return -1;
	snprintf(disk->device, sizeof disk->device, "%s", device + strlen("/dev/"));
	snprintf(disk->fs, sizeof disk->fs, "%s", fs);
	snprintf(disk->root, sizeof disk->root, "/disk%s", device + strlen("/dev"));
	disk->writable = strcmp(fs, "squashfs") != 0;
	mkdir("/disk", 0755);
	mkdir(disk->root, 0755);
	snprintf(name, sizeof name, "mount.%s", disk->device);
	if (mount(device, disk->root, fs, disk->writable ? 0 : MS_RDONLY, option(name, "")))
		return fail("mount %s: %s", device, strerror(errno));
	if (read_manifest(disk))
		return -1;
	disk_count++;
	return 0;
}

/* pars.overlay=1: what is on vda is seen through an overlay whose upper layer is on vdb. */
static int mount_overlay(void)
{
	if (disk_count != 2)
		return fail("an overlay needs two disks");
	if (load_modules("overlay"))
		return -1;
	mkdir("/disk/vdb/upper", 0755);
	mkdir("/disk/vdb/work", 0755);
	mkdir("/overlay", 0755);
	if (mount("overlay", "/overlay", "overlay", 0,
		  "lowerdir=/disk/vda,upperdir=/disk/vdb/upper,workdir=/disk/vdb/work"))
		return fail("mount overlay: %s", strerror(errno));
	snprintf(disks[0].root, sizeof disks[0].root, "/overlay");
	disks[0].count = 0;
	return read_manifest(&disks[0]);
}

/* pars.stack=linear,crypt: what is on vda is read from disks that stand on others, one of each kind. */
static int mount_stacks(const char *kinds)
{
	char list[128], device[32], *rest = NULL;

	snprintf(list, sizeof list, "%s", kinds);
	if (!access("/dev/vdc", F_OK) && mount_disk("/dev/vdc"))
		return -1;
	for (char *kind = strtok_r(list, ",", &rest); kind; kind = strtok_r(NULL, ",", &rest))
		if (disk_count == MAX_DISKS || build_stack(kind, device) || mount_disk(device))
			return -1;
	return 0;
}

/* pars.mount.vda=OPTIONS reach mount(2). A disk without a manifest is mounted and left alone. */
int mount_disks(void)
{
	char device[32];

	if (*option("stack", ""))
		return mount_stacks(option("stack", ""));
	for (char letter = 'a'; disk_count < MAX_DISKS; letter++) {
		snprintf(device, sizeof device, "/dev/vd%c", letter);
		if (access(device, F_OK))
			break;
		if (mount_disk(device))
			return -1;
	}
	return option_number("overlay", 0) ? mount_overlay() : 0;
}

static int cache_file(struct file *file)
{
	uint64_t sum, size;

	if (sum_file(file->path, &sum, &size))
		return -1;
	if (sum != file->sum || size != file->size)
		return fail("%s differs from its manifest already at the first reading", file->path);
	file->cached = 1;
	return 0;
}

/* Every disk gets an equal share of the budget; 0 percent is none. */
int cache_files(unsigned percent_of_ram)
{
	struct sysinfo ram;

	sysinfo(&ram);
	uint64_t budget = (uint64_t)ram.totalram * ram.mem_unit / 100 * percent_of_ram;
	for (size_t d = 0; d < disk_count; d++) {
		uint64_t left = budget / disk_count;
		for (size_t i = 0; i < disks[d].count && left; i++) {
			struct file *file = &disks[d].files[i];
			uint64_t room = (file->size + PAGE - 1) & ~(PAGE - 1);
			if (room > left && percent_of_ram < 100)
				continue;
			if (cache_file(file))
				return -1;
			left -= room < left ? room : left;
		}
	}
	return 0;
}

/* Opens every file and never closes it: then its inode stays, whatever becomes of its disk. */
int keep_open(void)
{
	for (size_t d = 0; d < disk_count; d++)
		for (size_t i = 0; i < disks[d].count; i++)
			if (open(disks[d].files[i].path, O_RDONLY | O_CLOEXEC) < 0)
				return fail("open %s: %s", disks[d].files[i].path, strerror(errno));
	return 0;
}

/* Sectors and requests read from all disks since boot. */
uint64_t disk_reads(uint64_t *requests)
{
	char line[512], name[64];
	unsigned long long done, merged, sectors;
	uint64_t total = 0;
	FILE *in = fopen("/proc/diskstats", "r");

	*requests = 0;
	while (in && fgets(line, sizeof line, in))
		if (sscanf(line, "%*d %*d %63s %llu %llu %llu", name, &done, &merged, &sectors) == 4 &&
		    !strncmp(name, "vd", 2)) {
			total += sectors;
			*requests += done;
		}
	if (in)
		fclose(in);
	return total;
}
