/* The limit: what a blocking loop over the same kind of descriptor takes. It answers as the workers do: for each count read from stdin,
   one line with the CPU time, the number of operations, and the times, all in nanoseconds. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static long long nanoseconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int open_pty(const char *path) {
    struct termios raw;
    int fd = open(path, O_RDWR | O_NOCTTY);
    if (fd < 0 || tcgetattr(fd, &raw))
        fail(path);
    cfmakeraw(&raw);
    tcsetattr(fd, TCSANOW, &raw);
    return fd;
}

static int open_tcp(const char *port) {
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    there.sin_port = htons((unsigned short)atoi(port));
    if (fd < 0 || connect(fd, (struct sockaddr *)&there, sizeof there))
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return fd;
}

static void say(int fd, const char *data) {
    if (write(fd, data, strlen(data)) != (ssize_t)strlen(data))
        fail("write");
}

/* Reads until so many lines have ended. */
static void hear(int fd, long lines) {
    static char heard[65536];
    while (lines > 0) {
        ssize_t n = read(fd, heard, sizeof heard);
        if (n <= 0)
            fail("read");
        for (char *at = heard; (at = memchr(at, '\n', (size_t)(heard + n - at))); at++)
            lines--;
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: limit pty|tcp query|messages ADDRESS\n");
        return 2;
    }
    int fd = !strcmp(argv[1], "pty") ? open_pty(argv[3]) : open_tcp(argv[3]);
    int querying = !strcmp(argv[2], "query");
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        long count = atol(line), samples = querying ? count : 1;
        long long *times = malloc((size_t)samples * sizeof *times);
        long long cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
        for (long i = 0; i < samples; i++) {
            long long begun = nanoseconds(CLOCK_MONOTONIC);
            say(fd, querying ? "MEASURE 1\n" : line);
            hear(fd, querying ? 1 : count);
            times[i] = nanoseconds(CLOCK_MONOTONIC) - begun;
        }
        printf("%lld %ld", nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu, count);
        for (long i = 0; i < samples; i++)
            printf(" %lld", times[i]);
        printf("\n");
        fflush(stdout);
        free(times);
    }
    return 0;
}
