/* Work that goes on while the guest is saved. Each worker is a process that checks itself as it goes, and
 * says in shared memory what it has done: at rest, its file must hold exactly that. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNIT 2048UL /* half a page: every write leaves the rest of a page as it was */
#define SENT_LEAST (64UL << 10)
#define SENT_MOST (1UL << 20)
#define MAX_WORKERS 16

static struct worker *workers; /* shared with their processes */
static size_t worker_count;

static uint64_t draw(struct worker *w)
{
	w->random = w->random * 6364136223846793005ULL + 1442695040888963407ULL;
	return w->random >> 33;
}

static const unsigned char *unit_of(uint64_t unit, uint32_t generation)
{
	static unsigned char page[PAGE];

	fill_page(page, (unit << 32) + generation);
	return page;
}

static int check_unit(struct worker *w, int fd, uint64_t unit)
{
	unsigned char found[UNIT];

	if (pread(fd, found, UNIT, (off_t)(unit * UNIT)) != (ssize_t)UNIT)
		return fail("read %s: %s", w->path, strerror(errno));
	if (memcmp(found, unit_of(unit, w->generation[unit]), UNIT))
		return fail("%s differs at %llu", w->path, (unsigned long long)(unit * UNIT));
	return 0;
}

static int verify_units(struct worker *w)
{
	int status = 0, fd = open(w->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return fail("open %s: %s", w->path, strerror(errno));
	for (uint64_t unit = 0; unit < WORK_UNITS && !status; unit++)
		status = check_unit(w, fd, unit);
	close(fd);
	return status;
}

static int prepare_units(struct worker *w)
{
	int status = 0, fd = open(w->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	for (uint64_t unit = 0; fd >= 0 && unit < WORK_UNITS && !status; unit++)
		status = pwrite(fd, unit_of(unit, w->generation[unit]), UNIT, (off_t)(unit * UNIT)) != (ssize_t)UNIT;
	if (fd < 0 || status || fsync(fd))
		status = fail("write %s: %s", w->path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return status;
}

/* The generation is counted when the write is done; a worker stops between rounds only. */
static int write_round(struct worker *w)
{
	int status = 0, fd = open(w->path, O_RDWR | O_CLOEXEC);

	for (int i = 0; i < 16 && !status && fd >= 0; i++) {
		uint64_t unit = draw(w) % WORK_UNITS;
		const unsigned char *bytes = unit_of(unit, w->generation[unit] + 1);
		status = pwrite(fd, bytes, UNIT, (off_t)(unit * UNIT)) != (ssize_t)UNIT;
		w->generation[unit]++;
		status = status || check_unit(w, fd, draw(w) % WORK_UNITS);
	}
	if (fd < 0 || (w->rounds % 8 == 7 && fsync(fd)))
		status = fail("write %s: %s", w->path, strerror(errno));
	if (fd >= 0 && w->rounds % 32 == 31)
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	if (fd >= 0)
		close(fd);
	return status;
}

static int map_round(struct worker *w)
{
	int status = 0, fd = open(w->path, O_RDWR | O_CLOEXEC);
	unsigned char *bytes = mmap(NULL, WORK_UNITS * UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	if (bytes == MAP_FAILED)
		return fail("map %s: %s", w->path, strerror(errno));
	for (int i = 0; i < 16 && !status; i++) {
		uint64_t unit = draw(w) % WORK_UNITS, other = draw(w) % WORK_UNITS;
		memcpy(bytes + unit * UNIT, unit_of(unit, w->generation[unit] + 1), UNIT);
		w->generation[unit]++;
		if (memcmp(bytes + other * UNIT, unit_of(other, w->generation[other]), UNIT))
			status = fail("mapping of %s differs at %llu", w->path, (unsigned long long)(other * UNIT));
	}
	if (w->rounds % 8 == 7 && msync(bytes, WORK_UNITS * UNIT, MS_SYNC))
		status = fail("msync %s: %s", w->path, strerror(errno));
	munmap(bytes, WORK_UNITS * UNIT);
	return status;
}

/* What sendfile puts into a socket are the cache's own pages. */
static int send_piece(struct worker *w, int file, const int ends[2], uint64_t *sum, uint64_t *at)
{
	static unsigned char buffer[16 * PAGE];
	off_t from = (off_t)*at;
	ssize_t sent = sendfile(ends[0], file, &from, sizeof buffer);

	if (sent <= 0)
		return fail("sendfile %s: %s", w->path, strerror(errno));
	for (ssize_t have = 0, n; have < sent; have += n)
		if ((n = read(ends[1], buffer + have, (size_t)(sent - have))) <= 0)
			return fail("what was sent of %s: %s", w->path, strerror(errno));
	*sum = sum_bytes(*sum, buffer, (size_t)sent);
	*at += (uint64_t)sent;
	return sent % 8 && *at != w->size ? fail("sendfile %s: a piece of %zd bytes", w->path, sent) : 0;
}

static int send_round(struct worker *w)
{
	int ends[2], status = 0, file = open(w->path, O_RDONLY | O_CLOEXEC);
	uint64_t sum = 0, at = 0;

	if (file < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends))
		return fail("send %s: %s", w->path, strerror(errno));
	while (at < w->size && !status)
		status = send_piece(w, file, ends, &sum, &at);
	close(file);
	close(ends[0]);
	close(ends[1]);
	if (!status && sum != w->sum)
		status = fail("what was sent of %s differs", w->path);
	return status;
}

static int nothing(struct worker *w)
{
	(void)w;
	return 0;
}

static const struct work writing = { "written", prepare_units, write_round, verify_units };
static const struct work mapping = { "mapped", prepare_units, map_round, verify_units };
static const struct work sending = { "sent", nothing, send_round, nothing };

static struct worker *hire(const struct work *work, const char *path)
{
	struct worker *w = &workers[worker_count++];

	w->work = work;
	w->random = worker_count;
	snprintf(w->path, sizeof w->path, "%s", path);
	return w;
}

static void hire_sender(const struct disk *disk)
{
	for (size_t i = 1; i < disk->count; i++) {
		const struct file *file = &disk->files[i];
		if (i % 3 == 0 || !file->cached || file->size < SENT_LEAST || file->size > SENT_MOST)
			continue; /* `deep` rewrites every third */
		struct worker *w = hire(&sending, file->path);
		w->sum = file->sum;
		w->size = file->size;
		return;
	}
}

static void hire_all(void)
{
	static const struct work *const works[] = { &writing, &mapping, &database };
	char path[96];

	for (size_t d = 0; d < disk_count && worker_count + 4 <= MAX_WORKERS; d++) {
		for (size_t i = 0; disks[d].writable && i < sizeof works / sizeof *works; i++) {
			snprintf(path, sizeof path, "%s/pars-busy-%s", disks[d].root, works[i]->name);
			hire(works[i], path);
		}
		hire_sender(&disks[d]);
	}
}

static void run(struct worker *w, int ready)
{
	int status = w->work->prepare(w);

	while (!status && !w->stop) {
		status = w->work->round(w);
		if (w->rounds++ == 0 && write(ready, "", 1) != 1)
			_exit(1);
	}
	if (status)
		memcpy(w->failure, failure, sizeof w->failure);
	_exit(status ? 1 : 0);
}

/* Returns when each has done a round; a file of an earlier time is taken up where it was left. */
int start_workers(void)
{
	int ends[2];
	char done;
	size_t ready = 0;

	if (!workers) {
		workers = mmap(NULL, MAX_WORKERS * sizeof *workers, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		hire_all();
	}
	if (pipe2(ends, O_CLOEXEC))
		return fail("pipe: %s", strerror(errno));
	for (size_t i = 0; i < worker_count; i++) {
		struct worker *w = &workers[i];
		w->stop = 0;
		w->rounds = 0;
		pid_t pid = fork(); /* the child must not write its 0 into what it shares */
		if (pid == 0)
			run(w, ends[1]);
		w->pid = pid;
	}
	close(ends[1]);
	while (ready < worker_count && read(ends[0], &done, 1) == 1)
		ready++;
	close(ends[0]);
	return ready == worker_count ? 0 : fail("only %zu of %zu workers are at work", ready, worker_count);
}

/* Ends the round they are in, and says what they found. */
int stop_workers(uint64_t *rounds)
{
	int ended, status = 0;

	*rounds = 0;
	for (size_t i = 0; i < worker_count; i++)
		workers[i].stop = 1;
	for (size_t i = 0; i < worker_count; i++) {
		struct worker *w = &workers[i];
		if (w->pid <= 0)
			continue;
		if (waitpid(w->pid, &ended, 0) != w->pid || ended)
			status = fail("at work: %s", *w->failure ? w->failure : w->path);
		w->pid = 0;
		*rounds += w->rounds;
	}
	return status || verify_workers() ? -1 : 0;
}

/* Nothing to say while they are at work. */
int verify_workers(void)
{
	for (size_t i = 0; i < worker_count; i++)
		if (!workers[i].pid && workers[i].work->verify(&workers[i]))
			return -1;
	return 0;
}
