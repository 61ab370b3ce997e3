/* Memory of an ordinary process dressed up as a kernel's, to fool whoever searches guest RAM. */
#define _GNU_SOURCE
#include "guest.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define NOTES_MAX (64UL << 10)
#define BTF_MAX (16UL << 20)

static const char made_up[] =
	"OSRELEASE=6.1.0-99-amd64\nBUILD-ID=0123456789abcdef0123456789abcdef01234567\nPAGESIZE=4096\n"
	"SYMBOL(init_uts_ns)=ffffffff82a1b780\nOFFSET(uts_namespace.name)=0\n"
	"SYMBOL(node_online_map)=ffffffff82b3ab48\n"
	"SYMBOL(swapper_pg_dir)=ffffffff82a10000\nSYMBOL(_stext)=ffffffff81000000\n"
	"SYMBOL(vmap_area_list)=ffffffff82b0f7f0\n"
	"SYMBOL(mem_section)=ffff88801fff9000\nLENGTH(mem_section)=2048\nSIZE(mem_section)=16\n"
	"OFFSET(mem_section.section_mem_map)=0\nNUMBER(SECTION_SIZE_BITS)=27\nNUMBER(MAX_PHYSMEM_BITS)=46\n"
	"SIZE(page)=64\nOFFSET(page.flags)=0\nOFFSET(page._refcount)=52\nOFFSET(page.mapping)=24\n"
	"OFFSET(page.lru)=8\n"
	"OFFSET(page._mapcount)=48\nOFFSET(page.private)=40\nNUMBER(PG_lru)=4\nNUMBER(PG_private)=13\n"
	"NUMBER(PG_swapbacked)=19\nNUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-129\nNUMBER(phys_base)=0\n"
	"NUMBER(pgtable_l5_enabled)=0\nKERNELOFFSET=0\n";

/* /proc/kcore carries the running kernel's own text as an ELF note. */
static size_t find_note(const unsigned char *notes, size_t length, char *text)
{
	for (size_t at = 0; at + sizeof(Elf64_Nhdr) < length;) {
		const Elf64_Nhdr *note = (const void *)(notes + at);
		size_t name = at + sizeof *note, body = name + ((note->n_namesz + 3U) & ~3U);
		if (body + note->n_descsz > length)
			break;
		if (!strncmp((const char *)notes + name, "VMCOREINFO", 10) && note->n_descsz < PAGE) {
			memcpy(text, notes + body, note->n_descsz);
			return note->n_descsz;
		}
		at = body + ((note->n_descsz + 3U) & ~3U);
	}
	return 0;
}

static size_t real_vmcoreinfo(char *text)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	size_t found = 0;
	unsigned char *notes = malloc(NOTES_MAX);
	int fd = open("/proc/kcore", O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && pread(fd, &header, sizeof header, 0) == sizeof header)
		for (unsigned i = 0; i < header.e_phnum && !found; i++) {
			off_t at = (off_t)(header.e_phoff + (uint64_t)i * sizeof segment);
			if (pread(fd, &segment, sizeof segment, at) != sizeof segment || segment.p_type != PT_NOTE)
				continue;
			size_t want = segment.p_filesz < NOTES_MAX ? segment.p_filesz : NOTES_MAX;
			ssize_t n = pread(fd, notes, want, (off_t)segment.p_offset);
			found = n > 0 ? find_note(notes, (size_t)n, text) : 0;
		}
	if (fd >= 0)
		close(fd);
	free(notes);
	return found;
}

/* Every other copy is perfect; the rest lead a few pages astray. */
static void alter(char *text, unsigned nth)
{
	static const char *const keys[] = { "SYMBOL(mem_section)=", "NUMBER(phys_base)=",
					    "SYMBOL(swapper_pg_dir)=" };

	if (!(nth & 1))
		return;
	char *at = strstr(text, keys[nth / 2 % 3]);
	if (!at)
		return;
	at += strcspn(at, "\n") - 4;
	*at = *at == '9' ? '1' : '9';
}

static size_t read_btf(unsigned char *into)
{
	int fd = open("/sys/kernel/btf/vmlinux", O_RDONLY | O_CLOEXEC);
	size_t have = 0;
	ssize_t n;

	while (fd >= 0 && have < BTF_MAX && (n = read(fd, into + have, BTF_MAX - have)) > 0)
		have += (size_t)n;
	if (fd >= 0)
		close(fd);
	return have;
}

/* The header stays perfect; type sizes and offsets in the middle do not. */
static void alter_btf(unsigned char *btf, size_t length)
{
	for (size_t at = length / 8; at < length / 2; at += 512)
		btf[at] ^= 4;
}

static void fill_records(unsigned char *page)
{
	static const unsigned char record[8] = { 0x50, 0x41, 0x52, 0x53, 0x53, 0x54, 0x5c, 0x01 };

	for (size_t at = 0; at < PAGE; at += 16)
		memcpy(page + at, record, sizeof record);
}

int plant(uint64_t bytes)
{
	char text[PAGE] = "";
	unsigned char *btf = malloc(BTF_MAX);
	unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t length = btf ? read_btf(btf) : 0;
	uint64_t at = 0;

	if (memory == MAP_FAILED)
		return fail("plant: %s", strerror(errno));
	if (!real_vmcoreinfo(text))
		memcpy(text, made_up, sizeof made_up);
	if (length && length + PAGE < bytes / 2) {
		alter_btf(btf, length);
		memcpy(memory + 16, btf, length); /* like the genuine one not at a page's start */
		at = (length + 2 * PAGE) & ~(PAGE - 1);
	}
	for (unsigned nth = 0; at + 2 * PAGE <= bytes; at += 2 * PAGE, nth++) {
		memcpy(memory + at, text, PAGE);
		alter((char *)memory + at, nth);
		fill_records(memory + at + PAGE);
	}
	free(btf);
	return 0;
}
