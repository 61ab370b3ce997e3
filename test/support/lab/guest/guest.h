/* The lab's guest: one static program that is init inside the guest, and on the host makes
 * file trees and their manifests with the very code that checks them later. */
#ifndef PARS_LAB_GUEST_H
#define PARS_LAB_GUEST_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define MANIFEST ".pars-manifest"
#define PAGE 4096UL
#define MAX_DISKS 12
#define MAX_MAPS 8

/* One file whose content is known: `sum` is what a correct read must give. */
struct file {
	char *path;
	uint64_t sum;
	uint64_t size;
	int cached;  /* was read before READY: `check` verifies it */
	int mapped;  /* stays mapped: `deep` leaves it alone */
};

struct disk {
	char device[16];   /* vda */
	char fs[16];       /* ext4 */
	char root[48];     /* /disk/vda */
	int writable;
	struct file *files;
	size_t count;
};

extern struct disk disks[MAX_DISKS];
extern size_t disk_count;

/* One reason why something is not as it should be; empty when all is well. */
extern char failure[512];
int fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* content.c */
uint64_t sum_bytes(uint64_t sum, const void *bytes, size_t length);
int sum_file(const char *path, uint64_t *sum, uint64_t *size);
void fill_page(void *page, uint64_t seed);
int write_pattern(const char *path, uint64_t bytes, uint64_t seed);
int generate_tree(const char *root, uint64_t bytes, uint64_t seed);
int write_manifest(const char *root);
int read_manifest(struct disk *disk);

/* disks.c */
int load_modules(const char *list);
int mount_disks(void);
int cache_files(unsigned percent_of_ram);
int keep_open(void);
uint64_t disk_reads(uint64_t *requests);

/* stack.c */
int build_stack(const char *kind, char device[32]);

/* memory.c */
int use_and_free(uint64_t bytes);
int hold_anonymous(uint64_t bytes);
int hold_shared(uint64_t bytes);
int hold_tmpfs(uint64_t bytes);
int hold_maps(unsigned per_disk);
int check_anonymous(void);
int check_shared(void);
int check_tmpfs(void);
int check_maps(void);

/* busy.c: work that goes on while the guest is saved. */
#define WORK_UNITS 512

struct worker;
struct work {
	const char *name;
	int (*prepare)(struct worker *w);
	int (*round)(struct worker *w);
	int (*verify)(struct worker *w); /* at rest */
};

/* In shared memory: a worker is a process of its own. */
struct worker {
	const struct work *work;
	char path[300];
	pid_t pid;
	volatile int stop;
	uint64_t random, rounds;
	uint64_t sum, size;                /* of a file that is only read */
	uint32_t generation[WORK_UNITS];   /* how often each unit (row) was written */
	char failure[512];
};

extern const struct work database; /* database.c */
int start_workers(void);
int stop_workers(uint64_t *rounds);
int verify_workers(void);

/* clones.c */
int clone_files(unsigned per_disk);

/* check.c */
int check_files(void);
int check_all(void);
int check_log(void);
int deep(void);
int drop_caches(void);
struct file *add_file(struct disk *disk, const char *path);
int forget_file(struct disk *disk, const char *path);

/* held.c */
int hold_all(void);

/* kexec.c */
int load_kernel(int on_crash);
void crash(void);

/* kpf.c */
int print_kpageflags(FILE *out);

/* plant.c */
int plant(uint64_t bytes);

/* options.c */
const char *option(const char *name, const char *otherwise);
unsigned option_number(const char *name, unsigned otherwise);

#endif
