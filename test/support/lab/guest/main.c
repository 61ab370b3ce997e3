/* init of a lab guest. Everything it does after PARS-READY is asked for by a line on the console, and
 * answered by one line that begins with PARS-: no timers, no sleeping as a way of waiting. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define MIB(n) ((uint64_t)(n) << 20)

char failure[512];
static uint64_t sectors_at_ready, requests_at_ready;

int fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(failure, sizeof failure, format, arguments);
	va_end(arguments);
	return -1;
}

static void reply(const char *what, int status)
{
	uint64_t requests, sectors = disk_reads(&requests);

	if (status)
		printf("PARS-%s FAIL %s\n", what, failure);
	else
		printf("PARS-%s ok reads=%llu requests=%llu\n", what, (unsigned long long)(sectors - sectors_at_ready),
		       (unsigned long long)(requests - requests_at_ready));
	failure[0] = 0;
}

/* A file that was written, not read: its pages are clean by writeback. */
static int written_file(const char *name, uint64_t bytes, uint64_t seed, int synced)
{
	char path[128];

	for (size_t d = 0; d < disk_count; d++) {
		if (!disks[d].writable)
			continue;
		snprintf(path, sizeof path, "%s/%s", disks[d].root, name);
		forget_file(&disks[d], path);
		if (write_pattern(path, bytes, seed))
			return -1;
		int fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0 || (synced && fsync(fd)))
			return fail("fsync %s: %s", path, strerror(errno));
		close(fd);
		struct file *file = add_file(&disks[d], path);
		file->cached = 1;
		if (sum_file(path, &file->sum, &file->size))
			return -1;
	}
	return 0;
}

/* A child does WORK, says when it is done through a pipe, and then keeps its memory for ever. */
static pid_t start_child(int (*work)(uint64_t), uint64_t argument, int *status)
{
	int ends[2];
	char done = 1;

	if (pipe(ends))
		return *status = fail("pipe: %s", strerror(errno)), -1;
	pid_t child = fork();
	if (child == 0) {
		done = (char)work(argument);
		if (write(ends[1], &done, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ends[1]);
	*status = child < 0 || read(ends[0], &done, 1) != 1 || done ? fail("the child failed") : 0;
	close(ends[0]);
	return child;
}

static int hold(uint64_t unused)
{
	int status = hold_all();

	(void)unused;
	if (status)
		printf("PARS-HELD %s\n", failure);
	return status;
}

static void mark(void)
{
	sync();
	sectors_at_ready = disk_reads(&requests_at_ready);
}

/* What the kernel uses of what the processor has. */
static void print_cpu(void)
{
	static const char *const flags[] = { " la57", " pti" };
	char line[8192] = "";
	FILE *in = fopen("/proc/cpuinfo", "r");

	while (in && fgets(line, sizeof line, in) && strncmp(line, "flags", 5))
		;
	if (in)
		fclose(in);
	line[strcspn(line, "\n")] = ' ';
	printf("PARS-CPU ok");
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		const char *at = strstr(line, flags[i]);
		if (at && at[strlen(flags[i])] == ' ')
			printf("%s", flags[i]);
	}
	printf("\n");
}

static void quiet(void)
{
	uint64_t rounds;
	int status = stop_workers(&rounds);

	mark();
	if (status)
		reply("QUIET", status);
	else
		printf("PARS-QUIET ok rounds=%llu\n", (unsigned long long)rounds);
}

static void command(const char *name, unsigned number)
{
	struct utsname uts;
	int status = 0;

	if (!strcmp(name, "check")) {
		reply("CHECK", check_all());
	} else if (!strcmp(name, "deep")) {
		reply("DEEP", deep());
	} else if (!strcmp(name, "kpageflags")) {
		if (print_kpageflags(stdout))
			reply("KPF", -1);
	} else if (!strcmp(name, "kernel")) {
		uname(&uts);
		printf("PARS-KERNEL %s\n", uts.release);
	} else if (!strcmp(name, "cpu")) {
		print_cpu();
	} else if (!strcmp(name, "plant")) {
		start_child(plant, MIB(number ? number : 32), &status);
		reply("PLANT", status);
	} else if (!strcmp(name, "busy")) {
		reply("BUSY", start_workers());
	} else if (!strcmp(name, "quiet")) {
		quiet();
	} else if (!strcmp(name, "hold")) {
		start_child(hold, 0, &status);
		reply("HOLD", status);
	} else if (!strcmp(name, "kexec")) {
		status = load_kernel(0);
		reply("KEXEC", status);
		if (!status)
			reboot(RB_KEXEC);
	} else if (!strcmp(name, "kdump")) {
		reply("KDUMP", load_kernel(1));
	} else if (!strcmp(name, "crash")) {
		crash();
		reply("CRASH", -1);
	} else if (!strcmp(name, "dirty")) {
		reply("DIRTY", written_file("pars-dirty", MIB(number ? number : 4), 0xd1e7, 0));
	} else if (!strcmp(name, "sync")) {
		sync();
		reply("SYNC", 0);
	} else if (!strcmp(name, "keep")) {
		reply("KEEP", keep_open());
	} else if (!strcmp(name, "mark")) {
		mark();
		reply("MARK", 0);
	} else if (!strcmp(name, "drop")) {
		reply("DROP", drop_caches());
	} else if (!strcmp(name, "fill")) {
		reply("FILL", cache_files(number));
	} else if (!strcmp(name, "reboot") || !strcmp(name, "poweroff")) {
		sync();
		reboot(*name == 'r' ? RB_AUTOBOOT : RB_POWER_OFF);
	} else if (*name) {
		printf("PARS-UNKNOWN %s\n", name);
	}
}

static void mount_system(void)
{
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, "");
	mount("sysfs", "/sys", "sysfs", 0, "");
	mount("devtmpfs", "/dev", "devtmpfs", 0, "");
}

/* Without echo the console's log holds what the guest says, and nothing else. */
static void open_console(void)
{
	struct termios mode;
	int fd = open("/dev/console", O_RDWR | O_NOCTTY);

	for (int i = 0; fd >= 0 && i < 3; i++)
		dup2(fd, i);
	if (tcgetattr(0, &mode) == 0) {
		mode.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
		tcsetattr(0, TCSANOW, &mode);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
}

static int set_up(void)
{
	int all = !strcmp(option("files", ""), "all");

	if (load_modules("base") || mount_disks())
		return -1;
	if (use_and_free(MIB(option_number("used", 0))) || hold_anonymous(MIB(option_number("anon", 16))) ||
	    hold_shared(MIB(option_number("shared", 4))) || hold_tmpfs(MIB(option_number("tmpfs", 8))))
		return -1;
	if (cache_files(all ? 1000 : option_number("fill", 40)) || hold_maps(option_number("maps", 4)))
		return -1;
	if (written_file("pars-written", MIB(option_number("written", 4)), 0x3717, 1) ||
	    clone_files(option_number("clones", 0)))
		return -1;
	/* Touches the counters' memory once, so that later counts find it in place. */
	FILE *nowhere = fopen("/dev/null", "w");
	if (!nowhere || print_kpageflags(nowhere))
		return -1;
	fclose(nowhere);
	mark();
	return 0;
}

static _Noreturn void init(void)
{
	char line[256], name[32];
	unsigned number;

	mount_system();
	open_console();
	if (set_up())
		printf("PARS-FAIL %s\n", failure);
	else
		printf("PARS-READY\n");
	for (;;) {
		if (!fgets(line, sizeof line, stdin)) {
			clearerr(stdin);
			pause();
			continue;
		}
		name[0] = 0;
		number = 0;
		sscanf(line, "%31s %u", name, &number);
		command(name, number);
	}
}

/* On the host the same program builds what init will check; in a guest with an init of its own it counts. */
static int on_host(int count, char **words)
{
	int status = -1;

	if (count == 5 && !strcmp(words[1], "generate"))
		status = generate_tree(words[2], MIB(strtoull(words[3], NULL, 0)), strtoull(words[4], NULL, 0));
	else if (count == 3 && !strcmp(words[1], "manifest"))
		status = write_manifest(words[2]);
	else if (count == 2 && !strcmp(words[1], "kpageflags"))
		status = print_kpageflags(stdout);
	else
		fail("usage: %s generate DIR MIB SEED | manifest DIR | kpageflags", words[0]);
	if (status)
		fprintf(stderr, "%s\n", failure);
	return status ? 1 : 0;
}

int main(int count, char **words)
{
	if (getpid() == 1)
		init();
	return on_host(count, words);
}
