/* Many instruments in one process: each answers every line that it hears at once. Prints their addresses, one a line. */
#define _GNU_SOURCE
#include "common.h"
#include "watch.h"

static const char REPLY[] = "READING +1.2345E+00\n"; /* 20 bytes */

enum { MOST_DESCRIPTORS = 65536 };
static char is_listener[MOST_DESCRIPTORS];

static void hear(int fd) {
    char heard[4096];
    ssize_t n = read(fd, heard, sizeof heard);
    if (n <= 0) {
        unwatch(fd);
        close(fd);
        return;
    }
    for (char *at = heard; (at = memchr(at, '\n', (size_t)(heard + n - at))); at++)
        write_all(fd, REPLY, sizeof REPLY - 1);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: bank pty|tcp INSTRUMENTS\n");
        return 2;
    }
    end_with_parent();
    for (long i = 0; i < atol(argv[2]); i++) {
        int over_pty = !strcmp(argv[1], "pty");
        int fd = over_pty ? offer_pty() : offer_tcp();
        if (fd >= MOST_DESCRIPTORS)
            fail("too many descriptors");
        is_listener[fd] = !over_pty;
        watch(fd);
    }
    fflush(stdout);
    for (;;) {
        int ready[MOST_READY], n = wait_ready(ready);
        for (int i = 0; i < n; i++) {
            if (is_listener[ready[i]])
                watch(accept_at(ready[i]));
            else
                hear(ready[i]);
        }
    }
}
