/*
 * Preloaded into a DataNode: its connections on the loopback interface come from its own address
 * ($PARS_SOURCE_ADDRESS). A NameNode knows a DataNode, and decides which node is near a writer, by the
 * address its connection comes from; without this every DataNode of a machine would be one host.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

static int is_loopback(const struct sockaddr *to, socklen_t size) {
  if (size < sizeof(struct sockaddr_in) || to->sa_family != AF_INET) return 0;
  return ntohl(((const struct sockaddr_in *)to)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

static void bind_source(int fd) {
  struct sockaddr_in local = {.sin_family = AF_INET};
  socklen_t size = sizeof local;
  const char *address = getenv("PARS_SOURCE_ADDRESS");
  if (!address || getsockname(fd, (struct sockaddr *)&local, &size)) return;
  if (local.sin_port || local.sin_addr.s_addr) return;
  int on = 1;
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
  local.sin_family = AF_INET;
  if (inet_pton(AF_INET, address, &local.sin_addr) == 1) bind(fd, (struct sockaddr *)&local, sizeof local);
}

int connect(int fd, const struct sockaddr *to, socklen_t size) {
  static int (*next)(int, const struct sockaddr *, socklen_t);
  if (!next) next = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
  if (is_loopback(to, size)) bind_source(fd);
  return next(fd, to, size);
}
