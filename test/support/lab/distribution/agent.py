# SPDX-License-Identifier: Apache-2.0
"""Answers the laboratory's questions on a Debian's serial port, as guest/main.c does in the small guests:
each line that is typed is answered by one that begins with PARS-. What it does not ask of the system's own
programs it keeps in its memory."""

import glob
import os
import platform
import random
import re
import subprocess
import sys
import termios
import urllib.request
import zlib

ROOTS = ['/usr', '/boot', '/var/www', '/opt/lab', '/srv', '/vault',
         '/mnt/static', '/mnt/image', '/mnt/merged']
WRITABLE = ['/var/lib/lab', '/srv/lab', '/vault/lab', '/mnt/image/lab', '/mnt/merged/lab']
WRITTEN_BYTES = 6 << 20
WRITE_BYTES = 1500  # neither a page nor a block
ARCHIVE = '/var/www/html/archive.tar'
TROUBLE = re.compile('EXT4-fs|XFS|SQUASHFS|overlayfs|I/O error|BUG|WARNING|[Cc]orrupt|md/raid|device-mapper')
SUMS = """SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(tbalance) FROM pgbench_tellers),
                 (SELECT sum(bbalance) FROM pgbench_branches),
                 (SELECT coalesce(sum(delta), 0) FROM pgbench_history)"""
CLIENT = ['/usr/bin/env', 'LC_ALL=C', 'setpriv', '--reuid=postgres', '--regid=postgres', '--clear-groups']


class Wrong(Exception):
    """Something is not as it must be."""


def checksum(path):
    value = 0
    with open(path, 'rb', buffering=0) as file:
        while block := file.read(1 << 18):
            value = zlib.crc32(block, value)
    return value


class Files:
    """What does not change: every file of every file system, as it was read first."""

    def __init__(self):
        self.known = {path: checksum(path) for path in self.walk()}

    @staticmethod
    def walk():
        for root in ROOTS:
            device = os.stat(root).st_dev
            for folder, folders, names in os.walk(root):
                folders[:] = sorted(n for n in folders if n not in ('lab', 'upper', 'work')
                                    and os.lstat(f'{folder}/{n}').st_dev == device)
                for name in sorted(names):
                    path = f'{folder}/{name}'
                    if os.path.isfile(path) and not os.path.islink(path) and path != '/srv/image.ext4':
                        yield path

    def check(self):
        for path, value in self.known.items():
            if checksum(path) != value:
                raise Wrong(f'{path} has changed')


class Written:
    """A file on each writable file system, written in places; what it must hold is in this memory."""

    def __init__(self):
        self.random = random.Random(1)
        self.models = {}
        for folder in WRITABLE:
            os.makedirs(folder, exist_ok=True)
            model = bytearray(self.random.randbytes(WRITTEN_BYTES))
            self.models[f'{folder}/written'] = model
            with open(f'{folder}/written', 'wb') as file:
                file.write(model)

    def write(self, places=200):
        for path, model in self.models.items():
            with open(path, 'r+b', buffering=0) as file:
                for _ in range(places):
                    at = self.random.randrange(len(model) - WRITE_BYTES)
                    piece = self.random.randbytes(WRITE_BYTES)
                    model[at:at + WRITE_BYTES] = piece
                    os.pwrite(file.fileno(), piece, at)
            grown = self.random.randbytes(WRITE_BYTES)
            model += grown
            with open(path, 'ab', buffering=0) as file:
                file.write(grown)

    def check(self):
        for path, model in self.models.items():
            with open(path, 'rb') as file:
                if file.read() != model:
                    raise Wrong(f'{path} is not what was written')


class Database:
    """PostgreSQL with pgbench at work; each of pgbench's transactions keeps four sums the same."""

    def __init__(self):
        self.work = None

    @staticmethod
    def run(*words):
        done = subprocess.run([*CLIENT, *words], capture_output=True, text=True, check=False, cwd='/')
        if done.returncode:
            raise Wrong(f'{words[0]}: {(done.stderr or done.stdout).strip()[:300]}')
        return done.stdout.strip()

    def start(self):
        words = ['pgbench', '--no-vacuum', '--client=2', '--rate=20', '--time=86400']
        self.work = subprocess.Popen([*CLIENT, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                     cwd='/')

    def stop(self):
        if self.work.poll() is not None:
            raise Wrong(f'pgbench has ended: {self.work.stderr.read()[-300:]}')
        self.work.terminate()
        self.work.communicate()

    def check(self):
        sums = self.run('psql', '-qAtc', SUMS)
        if len(set(sums.split('|'))) != 1:
            raise Wrong(f'the sums of the database differ: {sums}')
        self.run(*glob.glob('/usr/lib/postgresql/*/bin/pg_amcheck'), '--heapallindexed', 'postgres')
        self.run('pg_dump', '--file=/dev/null', 'postgres')


class Heap:
    """A Java program that checks its own heap."""

    def __init__(self):
        words = ['java', '-Xmx160m', '-XX:+UseSerialGC', '-cp', '/usr/local/lib/lab', 'Heap']
        self.java = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.answer()

    def answer(self):
        said = self.java.stdout.readline().strip()
        if said != 'ok':
            raise Wrong(f'the Java heap: {said or "its program has ended"}')

    def check(self):
        print(file=self.java.stdin, flush=True)
        self.answer()


class KernelLog:
    """What the kernel says of trouble, from now on."""

    def __init__(self):
        self.known = len(self.lines())

    @staticmethod
    def lines():
        words = ['dmesg', '--level=emerg,alert,crit,err,warn']
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        return [line for line in said.splitlines() if TROUBLE.search(line)]

    def check(self):
        if new := self.lines()[self.known:]:
            raise Wrong(f'kernel log: {" / ".join(new)[:400]}')


def check_web():
    with urllib.request.urlopen('http://localhost/archive.tar') as answer:
        served = zlib.crc32(answer.read())
    if served != checksum(ARCHIVE):
        raise Wrong(f'the web server sent another {ARCHIVE}')


def disk_reads():
    """Sectors and requests that the virtio disks have read."""
    rows = [line.split() for line in open('/proc/diskstats', encoding='ascii')]
    disks = [row for row in rows if re.fullmatch('vd[a-z]', row[2])]
    return sum(int(row[5]) for row in disks), sum(int(row[3]) for row in disks)


class Agent:
    """One answer a line."""

    def __init__(self):
        self.heap = Heap()
        self.database = Database()
        self.database.check()
        self.written = Written()
        check_web()
        self.files = Files()
        os.sync()
        self.log = KernelLog()
        self.mark()

    def mark(self):
        self.reads = disk_reads()

    def check(self):
        for part in (self.files, self.written, self.database, self.heap, self.log):
            part.check()
        check_web()

    def deep(self):
        """Writes into parts of pages, whether they are there or not; then asks the disk."""
        self.written.write()
        self.written.check()
        os.sync()
        self.drop()
        self.check()

    @staticmethod
    def drop():
        with open('/proc/sys/vm/drop_caches', 'w', encoding='ascii') as file:
            file.write('3')

    def busy(self):
        self.database.start()
        self.written.write()

    def quiet(self):
        self.database.stop()
        os.sync()

    def sync(self):
        os.sync()

    def poweroff(self):
        subprocess.run(['systemctl', 'poweroff'], check=True)


QUESTIONS = ['check', 'deep', 'drop', 'mark', 'busy', 'quiet', 'sync', 'poweroff']


def say(line):
    print(f'\n{line}', flush=True)


def answer(agent, word):
    if word == 'kpageflags':
        counts = subprocess.run(['/opt/lab/guest', word], capture_output=True, text=True, check=True)
        say(counts.stdout.strip())
    elif word == 'kernel':
        say(f'PARS-KERNEL {platform.release()}')
    elif word in QUESTIONS:
        try:
            getattr(agent, word)()
        except (Wrong, OSError, subprocess.SubprocessError) as error:
            say(f'PARS-{word.upper()} FAIL {error}'.replace('\n', ' / '))
            return
        sectors, requests = (now - then for now, then in zip(disk_reads(), agent.reads))
        say(f'PARS-{word.upper()} ok reads={sectors} requests={requests}')
    elif word:
        say(f'PARS-{word.upper()} FAIL is not a question')


def main():
    mode = termios.tcgetattr(0)
    mode[3] &= ~termios.ECHO
    termios.tcsetattr(0, termios.TCSANOW, mode)
    agent = Agent()
    say('PARS-READY')
    for line in sys.stdin:
        answer(agent, line.strip())


try:
    main()
except Exception as error:  # pylint: disable=broad-exception-caught
    say(f'PARS-FAIL {error!r}')
    raise
