/* Another kernel started by this one: at once, or when this one crashes. */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <string.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * vmlinuz and initrd lie on the first disk. The new command line is this one's, without what reserves memory.
 */
int load_kernel(int on_crash)
{
	char path[128], line[4096] = "";
	FILE *in = fopen("/proc/cmdline", "r");

	if (!in || !fgets(line, sizeof line, in))
		line[0] = 0;
	if (in)
		fclose(in);
	line[strcspn(line, "\n")] = 0;
	char *reserved = strstr(line, " crashkernel=");
	if (reserved)
		memset(reserved, ' ', 1 + strcspn(reserved + 1, " "));
	if (on_crash)
		strncat(line, " nr_cpus=1 pars.fill=5 pars.anon=1 pars.tmpfs=1 pars.written=0",
			sizeof line - strlen(line) - 1);
	snprintf(path, sizeof path, "%s/vmlinuz", disks[0].root);
	int kernel = open(path, O_RDONLY | O_CLOEXEC);
	snprintf(path, sizeof path, "%s/initrd", disks[0].root);
	int initrd = open(path, O_RDONLY | O_CLOEXEC);
	long status = syscall(SYS_kexec_file_load, kernel, initrd, strlen(line) + 1, line,
			      on_crash ? KEXEC_FILE_ON_CRASH : 0);
	int error = errno;
	close(kernel);
	close(initrd);
	return status ? fail("kexec: %s", strerror(error)) : 0;
}

void crash(void)
{
	int fd = open("/proc/sysrq-trigger", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "c", 1) != 1)
		fail("sysrq: %s", strerror(errno));
}
