// SPDX-License-Identifier: Apache-2.0
/* Disks that stand on others, as LVM, LUKS, mdadm and losetup make them, built by the kernel's own calls:
 * what vda holds is copied onto each. They are cut from vdb, which is blank; a loop device's file is on vdc,
 * which has a file system. */
#define _GNU_SOURCE
#include "guest.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/major.h>
#include <linux/nbd.h>
#include <linux/raid/md_p.h>
#include <linux/raid/md_u.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SECTOR 512UL
#define STEP (1UL << 20)
#define EXTENT ((1UL << 20) / SECTOR)
#define POOL_METADATA ((8UL << 20) / SECTOR)
#define LOOP_FILE "/disk/vdc/disk.img"

struct target {
	uint64_t sectors;
	const char *type;
	char parameters[256];
};

static uint64_t device_bytes(const char *path)
{
	uint64_t bytes = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, BLKGETSIZE64, &bytes))
		fail("%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return bytes;
}

/* --- device mapper */

static struct dm_ioctl *dm_request(void *room, size_t bytes, const char *name)
{
	struct dm_ioctl *request = memset(room, 0, bytes);

	request->version[0] = DM_VERSION_MAJOR;
	request->data_size = (uint32_t)bytes;
	request->data_start = sizeof *request;
	snprintf(request->name, sizeof request->name, "%s", name);
	return request;
}

static size_t put_target(char *at, const struct target *target, uint64_t start)
{
	struct dm_target_spec *spec = (void *)at;
	size_t bytes = (sizeof *spec + strlen(target->parameters) + 1 + 7) & ~7UL;

	spec->sector_start = start;
	spec->length = target->sectors;
	spec->next = (uint32_t)bytes;
	snprintf(spec->target_type, sizeof spec->target_type, "%s", target->type);
	strcpy(at + sizeof *spec, target->parameters);
	return bytes;
}

/* Creates a device with a table and starts it; DEVICE becomes its path. */
static int dm_create(const char *name, const struct target *targets, unsigned count, char device[32])
{
	_Alignas(8) static char room[4096];
	size_t at = sizeof(struct dm_ioctl);
	uint64_t start = 0;
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, DM_DEV_CREATE, dm_request(room, sizeof room, name)))
		return fail("dm: create %s: %s", name, strerror(errno));
	snprintf(device, 32, "/dev/dm-%u", minor(((struct dm_ioctl *)room)->dev));
	dm_request(room, sizeof room, name)->target_count = count;
	for (unsigned i = 0; i < count; start += targets[i++].sectors)
		at += put_target(room + at, &targets[i], start);
	if (ioctl(fd, DM_TABLE_LOAD, room))
		return fail("dm: table of %s (%s %s): %s", name, targets->type, targets->parameters, strerror(errno));
	if (ioctl(fd, DM_DEV_SUSPEND, dm_request(room, sizeof room, name)))
		return fail("dm: start %s: %s", name, strerror(errno));
	close(fd);
	return 0;
}

static int dm_message(const char *name, const char *text)
{
	_Alignas(8) char room[1024];
	struct dm_ioctl *request = dm_request(room, sizeof room, name);
	struct dm_target_msg *message = (void *)(request + 1);
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);

	strcpy(message->message, text);
	int bad = fd < 0 || ioctl(fd, DM_TARGET_MSG, request);
	int error = errno;
	if (fd >= 0)
		close(fd);
	return bad ? fail("dm: tell %s %s: %s", name, text, strerror(error)) : 0;
}

static int build_one(const char *name, const char *type, uint64_t sectors, const char *parameters,
		     char device[32])
{
	struct target target = { sectors, type, "" };

	snprintf(target.parameters, sizeof target.parameters, "%s", parameters);
	return dm_create(name, &target, 1, device);
}

/* What vdb has left. */
static uint64_t first_free = EXTENT;

static uint64_t cut(uint64_t sectors)
{
	uint64_t start = first_free;

	first_free += (sectors + EXTENT - 1) / EXTENT * EXTENT;
	return start;
}

/* A piece of vdb as a disk of its own. */
static int slice(uint64_t sectors, char device[32])
{
	static unsigned slices;
	char name[32], parameters[64];

	snprintf(name, sizeof name, "pars-slice-%u", slices++);
	snprintf(parameters, sizeof parameters, "/dev/vdb %llu", (unsigned long long)cut(sectors));
	return build_one(name, "linear", sectors, parameters, device);
}

/* A logical volume of two segments. */
static int build_linear(uint64_t sectors, char device[32])
{
	struct target targets[2] = { { sectors / 2, "linear", "" }, { sectors - sectors / 2, "linear", "" } };

	for (int i = 1; i >= 0; i--)
		snprintf(targets[i].parameters, sizeof targets[i].parameters, "/dev/vdb %llu",
			 (unsigned long long)cut(targets[i].sectors));
	return dm_create("pars-linear", targets, 2, device);
}

static int build_striped(uint64_t sectors, char device[32])
{
	char pieces[2][32], parameters[128];

	if (slice(sectors / 2, pieces[0]) || slice(sectors / 2, pieces[1]))
		return -1;
	snprintf(parameters, sizeof parameters, "2 128 %s 0 %s 0", pieces[0], pieces[1]);
	return build_one("pars-striped", "striped", sectors, parameters, device);
}

/* What LUKS opens: its header is cryptsetup's business alone. */
static int build_crypt(uint64_t sectors, char device[32])
{
	char piece[32], parameters[256];

	if (slice(sectors, piece))
		return -1;
	snprintf(parameters, sizeof parameters,
		 "aes-xts-plain64 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
		 "f0f1f2f3f4f5f6f7f8f9fafbfcfdfefff0e0d0c0b0a090807060504030201000 0 %s 0", piece);
	return build_one("pars-crypt", "crypt", sectors, parameters, device);
}

static int build_origin(uint64_t sectors, char device[32])
{
	char real[32];

	return slice(sectors, real) || build_one("pars-origin", "snapshot-origin", sectors, real, device);
}

static int build_thin(uint64_t sectors, char device[32])
{
	char metadata[32], data[32], pool[32], parameters[128];
	uint64_t room = (sectors + 2 * EXTENT) / EXTENT * EXTENT;

	if (slice(POOL_METADATA, metadata) || slice(room, data))
		return -1;
	snprintf(parameters, sizeof parameters, "%s %s 128 0", metadata, data);
	if (build_one("pars-pool", "thin-pool", room, parameters, pool) || dm_message("pars-pool", "create_thin 0"))
		return -1;
	snprintf(parameters, sizeof parameters, "%s 0", pool);
	return build_one("pars-thin", "thin", sectors, parameters, device);
}

/* What `lvcreate --type raid1` makes, without its metadata areas. */
static int build_lvmraid(uint64_t sectors, char device[32])
{
	char pieces[2][32], parameters[128];

	if (slice(sectors, pieces[0]) || slice(sectors, pieces[1]))
		return -1;
	snprintf(parameters, sizeof parameters, "raid1 4 0 nosync region_size 1024 2 - %s - %s",
		 pieces[0], pieces[1]);
	return build_one("pars-raid", "raid", sectors, parameters, device);
}

/* --- md */

static int add_member(int md, int number, uint64_t sectors)
{
	char path[32];
	struct stat member;

	if (slice(sectors, path))
		return -1;
	if (stat(path, &member))
		return fail("%s: %s", path, strerror(errno));
	mdu_disk_info_t disk = { .number = number, .raid_disk = number, .major = (int)major(member.st_rdev),
				 .minor = (int)minor(member.st_rdev), .state = 1 << MD_DISK_ACTIVE | 1 << MD_DISK_SYNC };
	return ioctl(md, ADD_NEW_DISK, &disk) ? fail("md: add %s: %s", path, strerror(errno)) : 0;
}

/* As many members as it takes, each of that size. */
static int build_md(int level, int members, int layout, uint64_t sectors, char device[32])
{
	static unsigned arrays;
	mdu_array_info_t array = { .level = level, .raid_disks = members, .nr_disks = members, .not_persistent = 1,
				   .state = 1 << MD_SB_CLEAN, .layout = layout, .chunk_size = level == 1 ? 0 : 64 << 10 };

	sectors = (sectors + EXTENT - 1) / EXTENT * EXTENT;
	array.size = (int)(sectors / 2);
	snprintf(device, 32, "/dev/md%u", arrays);
	mknod(device, S_IFBLK | 0600, makedev(MD_MAJOR, arrays++));
	int fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd < 0 || ioctl(fd, SET_ARRAY_INFO, &array))
		return fail("%s: %s", device, strerror(errno));
	for (int i = 0; i < members; i++)
		if (add_member(fd, i, sectors))
			return -1;
	if (ioctl(fd, RUN_ARRAY, NULL))
		return fail("md: run: %s", strerror(errno));
	close(fd);
	return 0;
}

/* --- loop, nbd */

static int build_loop(uint64_t sectors, char device[32])
{
	struct loop_config config = { 0 };
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
	int file = open(LOOP_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (number < 0 || file < 0 || posix_fallocate(file, 0, (off_t)(sectors * SECTOR)))
		return fail("loop: %s", strerror(errno));
	snprintf(device, 32, "/dev/loop%d", number);
	int loop = open(device, O_RDWR | O_CLOEXEC);
	config.fd = (uint32_t)file;
	int bad = loop < 0 || ioctl(loop, LOOP_CONFIGURE, &config);
	int error = errno;
	close(control);
	close(file);
	if (loop >= 0)
		close(loop);
	return bad ? fail("%s: %s", device, strerror(error)) : 0;
}

static int all_of(int fd, void *bytes, size_t length, int writing)
{
	char *at = bytes;

	while (length) {
		ssize_t n = writing ? write(fd, at, length) : read(fd, at, length);
		if (n <= 0)
			return -1;
		at += n;
		length -= (size_t)n;
	}
	return 0;
}

/* A process of this guest that serves a disk. */
static _Noreturn void serve(int socket, const char *piece)
{
	static char bytes[32 << 20];
	struct nbd_request request;
	int disk = open(piece, O_RDWR | O_CLOEXEC);

	while (disk >= 0 && !all_of(socket, &request, sizeof request, 0)) {
		uint32_t type = ntohl(request.type) & 0xffff, length = ntohl(request.len);
		off_t from = (off_t)be64toh(request.from);
		struct nbd_reply reply = { .magic = htonl(NBD_REPLY_MAGIC) };
		memcpy(reply.handle, request.handle, sizeof reply.handle);
		int bad = 0;
		if (type == NBD_CMD_WRITE)
			bad = all_of(socket, bytes, length, 0) || pwrite(disk, bytes, length, from) != (ssize_t)length;
		if (type == NBD_CMD_READ)
			bad = pread(disk, bytes, length, from) != (ssize_t)length;
		reply.error = htonl(bad ? EIO : 0);
		if (all_of(socket, &reply, sizeof reply, 1) || (type == NBD_CMD_READ && all_of(socket, bytes, length, 1)))
			break;
	}
	_exit(1);
}

static int build_nbd(uint64_t sectors, char device[32])
{
	int ends[2];
	char piece[32];

	if (slice(sectors, piece))
		return -1;
	strcpy(device, "/dev/nbd0");
	int fd = open(device, O_RDWR | O_CLOEXEC);
	if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		return fail("%s: %s", device, strerror(errno));
	if (fork() == 0)
		serve(ends[1], piece);
	if (ioctl(fd, NBD_SET_BLKSIZE, 4096UL) || ioctl(fd, NBD_SET_SIZE_BLOCKS, sectors / 8) ||
	    ioctl(fd, NBD_SET_SOCK, (unsigned long)ends[0]))
		return fail("nbd: %s", strerror(errno));
	if (fork() == 0) {
		ioctl(fd, NBD_DO_IT);
		_exit(1);
	}
	for (int tries = 0; tries < 6000 && !device_bytes(device); tries++)
		usleep(10000);
	close(fd);
	close(ends[0]);
	close(ends[1]);
	return device_bytes(device) ? 0 : fail("nbd: nobody serves it");
}

/* --- */

static int copy_disk(const char *from, const char *into)
{
	char *bytes = mmap(NULL, STEP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int in = open(from, O_RDONLY | O_DIRECT | O_CLOEXEC), out = open(into, O_WRONLY | O_DIRECT | O_CLOEXEC);
	int bad = in < 0 || out < 0 || bytes == MAP_FAILED;
	off_t at = 0;
	ssize_t n = 0;

	while (!bad && (n = pread(in, bytes, STEP, at)) > 0) {
		bad = pwrite(out, bytes, (size_t)n, at) != n;
		at += n;
	}
	if (bad || n < 0 || fsync(out))
		return fail("copy %s to %s: %s", from, into, strerror(errno));
	close(in);
	close(out);
	munmap(bytes, STEP);
	return 0;
}

static int build(const char *kind, uint64_t sectors, char device[32])
{
	if (!strcmp(kind, "linear"))
		return build_linear(sectors, device);
	if (!strcmp(kind, "striped"))
		return build_striped(sectors, device);
	if (!strcmp(kind, "crypt"))
		return build_crypt(sectors, device);
	if (!strcmp(kind, "origin"))
		return build_origin(sectors, device);
	if (!strcmp(kind, "thin"))
		return build_thin(sectors, device);
	if (!strcmp(kind, "lvmraid"))
		return build_lvmraid(sectors, device);
	if (!strcmp(kind, "raid0"))
		return build_md(0, 2, 0, sectors / 2, device);
	if (!strcmp(kind, "raid1"))
		return build_md(1, 2, 0, sectors, device);
	if (!strcmp(kind, "raid10"))
		return build_md(10, 2, 0x102, sectors, device);
	if (!strcmp(kind, "raid5"))
		return build_md(5, 3, 2, sectors / 2 + EXTENT, device);
	if (!strcmp(kind, "loop"))
		return build_loop(sectors, device);
	if (!strcmp(kind, "nbd"))
		return build_nbd(sectors, device);
	return fail("no kind of disk: %s", kind);
}

/* Builds one of the kinds above, with what vda holds; DEVICE becomes its path. */
int build_stack(const char *kind, char device[32])
{
	uint64_t sectors = device_bytes("/dev/vda") / SECTOR;

	if (!sectors || load_modules(kind) || build(kind, sectors, device))
		return -1;
	return copy_disk("/dev/vda", device);
}
