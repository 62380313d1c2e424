/* The other end of the line, in C so that it costs no Python time: answers at once, late, not at all, by id, pushes lines unasked, or
   notes how long it was from one keep-alive to the next.
   Prints its address (a path or a TCP port), then serves one client after the other until it is ended. */
#define _GNU_SOURCE
#include "common.h"

static const char REPLY[] = "READING +1.2345E+00\n"; /* 20 bytes */
static const char MESSAGE[] = "EVENT 0123456789 0123456789 0123456789 0123456789 0123456789 01\n"; /* 64 bytes */

enum { LINES_IN_BLOCK = 512, MOST_GAPS = 4096, LONGEST = 16 * MOST_GAPS };

/* What is still to be written: the answers to all that one read brought go out together. */
static char pending[LONGEST];
static size_t pends = 0;

static int flush_pending(int fd) {
    size_t size = pends;
    pends = 0;
    return write_all(fd, pending, size);
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

/* "#17 MEASURE 1" is answered with "#17 READING +1.2345E+00". */
static int by_id(const char *command) {
    int id = (int)strcspn(command, " ");
    pends += (size_t)snprintf(pending + pends, LONGEST - pends, "%.*s %s", id, command, REPLY);
    return pends < LONGEST;
}

/* "WATCH" begins, "KEEP" is a keep-alive, "GAPS" asks for the microseconds from each to the next. */
static int note_gaps(int fd, const char *command) {
    static long long last, gaps[MOST_GAPS];
    static int noted = 0;
    long long now = nanoseconds(CLOCK_MONOTONIC);
    if (!strcmp(command, "GAPS")) {
        for (int i = 0; i < noted; i++)
            pends += (size_t)snprintf(pending + pends, LONGEST - pends, "%s%lld", i ? " " : "", gaps[i] / 1000);
        pending[pends++] = '\n';
        return flush_pending(fd);
    }
    if (!strcmp(command, "WATCH"))
        noted = 0;
    else if (noted < MOST_GAPS)
        gaps[noted++] = now - last;
    last = now;
    return write_all(fd, REPLY, sizeof REPLY - 1);
}

static int answer(int fd, const char *mode, const char *command) {
    static const struct timespec late = {0, 5 * 1000 * 1000};
    if (!strcmp(mode, "silent"))
        return 1;
    if (!strcmp(mode, "push"))
        return push(fd, atol(command));
    if (!strcmp(mode, "ids"))
        return by_id(command);
    if (!strcmp(mode, "gaps"))
        return note_gaps(fd, command);
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
        if (pends && !flush_pending(fd))
            return;
        have -= (size_t)(from - heard);
        memmove(heard, from, have);
        if (have == sizeof heard - 1)
            have = 0;
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: instrument pty|tcp echo|late|silent|push|ids|gaps\n");
        return 2;
    }
    end_with_parent();
    int over_pty = !strcmp(argv[1], "pty");
    int here = over_pty ? offer_pty() : offer_tcp();
    fflush(stdout);
    if (over_pty)
        serve(here, argv[2]);
    else
        for (;;) {
            int client = accept_at(here);
            serve(client, argv[2]);
            close(client);
        }
    return 0;
}
