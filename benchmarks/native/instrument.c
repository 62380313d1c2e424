/* The other end of the line, in C so that it costs no Python time: answers at once, late, not at all, or pushes lines unasked.
   Prints its address (a path or a TCP port), then serves one client after the other until it is ended. */
#define _GNU_SOURCE
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

static const char REPLY[] = "READING +1.2345E+00\n"; /* 20 bytes */
static const char MESSAGE[] = "EVENT 0123456789 0123456789 0123456789 0123456789 0123456789 01\n"; /* 64 bytes */

enum { LINES_IN_BLOCK = 512 };

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n <= 0)
            return 0;
        data += n;
        size -= (size_t)n;
    }
    return 1;
}

static int push(int fd, long lines) {
    static char block[LINES_IN_BLOCK * (sizeof MESSAGE - 1)];
    if (block[0] == 0)
        for (int i = 0; i < LINES_IN_BLOCK; i++)
            memcpy(block + i * (sizeof MESSAGE - 1), MESSAGE, sizeof MESSAGE - 1);
    for (; lines > 0; lines -= LINES_IN_BLOCK) {
        long some = lines < LINES_IN_BLOCK ? lines : LINES_IN_BLOCK;
        if (!write_all(fd, block, (size_t)some * (sizeof MESSAGE - 1)))
            return 0;
    }
    return 1;
}

static int answer(int fd, const char *mode, const char *command) {
    static const struct timespec late = {0, 5 * 1000 * 1000};
    if (!strcmp(mode, "silent"))
        return 1;
    if (!strcmp(mode, "push"))
        return push(fd, atol(command));
    if (!strcmp(mode, "late"))
        nanosleep(&late, NULL);
    return write_all(fd, REPLY, sizeof REPLY - 1);
}

static void serve(int fd, const char *mode) {
    char heard[4096];
    size_t have = 0;
    for (;;) {
        ssize_t n = read(fd, heard + have, sizeof heard - 1 - have);
        if (n <= 0)
            return;
        have += (size_t)n;
        heard[have] = 0;
        char *from = heard, *end;
        while ((end = memchr(from, '\n', have - (size_t)(from - heard)))) {
            *end = 0;
            if (!answer(fd, mode, from))
                return;
            from = end + 1;
        }
        have -= (size_t)(from - heard);
        memmove(heard, from, have);
        if (have == sizeof heard - 1)
            have = 0;
    }
}

static void on_pty(const char *mode) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master))
        fail("pty");
    /* Held open, so that the master outlives its clients. */
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    struct termios raw;
    if (slave < 0 || tcgetattr(slave, &raw))
        fail("pty");
    cfmakeraw(&raw);
    tcsetattr(slave, TCSANOW, &raw);
    printf("%s\n", ptsname(master));
    fflush(stdout);
    serve(master, mode);
}

static void on_tcp(const char *mode) {
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (listener < 0 || bind(listener, (struct sockaddr *)&here, size) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&here, &size))
        fail("tcp");
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            fail("accept");
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        serve(client, mode);
        close(client);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: instrument pty|tcp echo|late|silent|push\n");
        return 2;
    }
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    signal(SIGPIPE, SIG_IGN);
    if (!strcmp(argv[1], "pty"))
        on_pty(argv[2]);
    else
        on_tcp(argv[2]);
    return 0;
}
