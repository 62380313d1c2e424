/* What the C programs share: how they fail, tell the time, and write. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

static inline void fail(const char *what) {
    perror(what);
    exit(1);
}

static inline long long nanoseconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static inline int write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n <= 0)
            return 0;
        data += n;
        size -= (size_t)n;
    }
    return 1;
}

static inline void make_raw(int fd) {
    struct termios raw;
    if (tcgetattr(fd, &raw))
        fail("tcgetattr");
    cfmakeraw(&raw);
    tcsetattr(fd, TCSANOW, &raw);
}

static inline void send_at_once(int socket) {
    int yes = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

/* -- The side of the instruments ---------------------------------------------------------------------------------------------------- */

static inline void end_with_parent(void) {
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    signal(SIGPIPE, SIG_IGN);
}

/* The master of a new pty; its address is printed. */
static inline int offer_pty(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master))
        fail("pty");
    /* Held open, so that the master outlives its clients. */
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    if (slave < 0)
        fail("pty");
    make_raw(slave);
    printf("%s\n", ptsname(master));
    return master;
}

/* A listening socket; its address is printed. */
static inline int offer_tcp(void) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&here, size) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&here, &size))
        fail("tcp");
    printf("%d\n", ntohs(here.sin_port));
    return listener;
}

static inline int accept_at(int listener) {
    int client = accept(listener, NULL, NULL);
    if (client < 0)
        fail("accept");
    send_at_once(client);
    return client;
}

/* -- The side of who asks ----------------------------------------------------------------------------------------------------------- */

static inline int open_pty(const char *path) {
    int fd = open(path, O_RDWR | O_NOCTTY);
    if (fd < 0)
        fail(path);
    make_raw(fd);
    return fd;
}

static inline int open_tcp(const char *port) {
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    there.sin_port = htons((unsigned short)atoi(port));
    if (fd < 0 || connect(fd, (struct sockaddr *)&there, sizeof there))
        fail("connect");
    send_at_once(fd);
    return fd;
}
