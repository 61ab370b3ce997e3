/* pars.NAME=VALUE on the kernel command line. */
#define _GNU_SOURCE
#include "guest.h"

#include <stdlib.h>
#include <string.h>

const char *option(const char *name, const char *otherwise)
{
	static char line[4096], value[256];
	char wanted[64];

	if (!*line) {
		FILE *in = fopen("/proc/cmdline", "r");
		line[0] = ' ';
		if (!in || !fgets(line + 1, sizeof line - 1, in))
			line[1] = 0;
		if (in)
			fclose(in);
	}
	snprintf(wanted, sizeof wanted, " pars.%s=", name);
	const char *at = strstr(line, wanted);
	if (!at)
		return otherwise;
	at += strlen(wanted);
	snprintf(value, sizeof value, "%.*s", (int)strcspn(at, " \n"), at);
	return value;
}

unsigned option_number(const char *name, unsigned otherwise)
{
	const char *text = option(name, NULL);

	return text ? (unsigned)strtoul(text, NULL, 0) : otherwise;
}
