/* The limit: what a loop in C over the same kind of descriptor takes; a blocking one, over many links one that waits for any of them. It
   answers as the workers do: for each count read from stdin, one line with the CPU time, the number of operations, and the times, all in
   nanoseconds. */
#define _GNU_SOURCE
#include "common.h"
#include "watch.h"

static const char COMMAND[] = "MEASURE 1\n";

enum { MOST_LINKS = 1024, MOST_DESCRIPTORS = 65536 };
static int links[MOST_LINKS];
static int open_links = 0;

static void say(int fd, const char *data) {
    if (write(fd, data, strlen(data)) != (ssize_t)strlen(data))
        fail("write");
}

/* Reads once; how many lines ended. */
static long hear_some(int fd) {
    static char heard[65536];
    long lines = 0;
    ssize_t n = read(fd, heard, sizeof heard);
    if (n <= 0)
        fail("read");
    for (char *at = heard; (at = memchr(at, '\n', (size_t)(heard + n - at))); at++)
        lines++;
    return lines;
}

/* Reads until so many lines have ended. */
static void hear(int fd, long lines) {
    while (lines > 0)
        lines -= hear_some(fd);
}

/* Asks all of them, each so often. */
static void ask_all(long share) {
    static long left[MOST_DESCRIPTORS];
    long still = open_links;
    for (int i = 0; i < open_links; i++) {
        left[links[i]] = share;
        say(links[i], COMMAND);
    }
    while (still > 0) {
        int ready[MOST_READY], n = wait_ready(ready);
        for (int i = 0; i < n; i++) {
            int fd = ready[i];
            if (!hear_some(fd))
                continue;
            if (--left[fd] > 0)
                say(fd, COMMAND);
            else
                still--;
        }
    }
}

/* Keep-alives, and nothing else to do: what the machine itself makes late. Answers with the gaps that the instrument noted. */
static void keep_alive(int fd, long count) {
    static const struct timespec every = {0, 50 * 1000 * 1000};
    static char gaps[65536];
    size_t have = 0;
    long long cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
    long noted = 0;
    say(fd, "WATCH\n");
    hear(fd, 1);
    for (long i = 0; i < count; i++) {
        nanosleep(&every, NULL);
        say(fd, "KEEP\n");
        hear(fd, 1);
    }
    say(fd, "GAPS\n");
    while (!have || gaps[have - 1] != '\n') {
        ssize_t n = read(fd, gaps + have, sizeof gaps - 1 - have);
        if (n <= 0)
            fail("read");
        have += (size_t)n;
    }
    for (size_t i = 0; i < have; i++)
        noted += gaps[i] == ' ' || gaps[i] == '\n';
    printf("%lld %ld", nanoseconds(CLOCK_PROCESS_CPUTIME_ID) - cpu, noted);
    for (char *gap = strtok(gaps, " \n"); gap; gap = strtok(NULL, " \n"))
        printf(" %lld", atoll(gap) * 1000);
    printf("\n");
    fflush(stdout);
}

static void open_all(char *addresses, int over_pty, int many) {
    for (char *one = strtok(addresses, ","); one; one = strtok(NULL, ",")) {
        int fd = over_pty ? open_pty(one) : open_tcp(one);
        if (open_links == MOST_LINKS || fd >= MOST_DESCRIPTORS)
            fail("too many links");
        if (many)
            watch(fd);
        links[open_links++] = fd;
    }
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: limit pty|tcp query|messages|links|gaps ADDRESS,...\n");
        return 2;
    }
    int querying = !strcmp(argv[2], "query"), many = !strcmp(argv[2], "links");
    open_all(argv[3], !strcmp(argv[1], "pty"), many);
    int fd = links[0];
    char line[64];
    while (fgets(line, sizeof line, stdin)) {
        long count = atol(line), samples = querying ? count : 1, share = count / open_links;
        if (!strcmp(argv[2], "gaps")) {
            keep_alive(fd, count);
            continue;
        }
        if (many)
            count = (share = share > 0 ? share : 1) * open_links;
        long long *times = malloc((size_t)samples * sizeof *times);
        long long cpu = nanoseconds(CLOCK_PROCESS_CPUTIME_ID);
        for (long i = 0; i < samples; i++) {
            long long begun = nanoseconds(CLOCK_MONOTONIC);
            if (many) {
                ask_all(share);
            } else {
                say(fd, querying ? COMMAND : line);
                hear(fd, querying ? 1 : count);
            }
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
