/* Which of many descriptors can be read: epoll on Linux, poll elsewhere. */
enum { MOST_READY = 256 };

#ifdef __linux__
#include <sys/epoll.h>

static int watcher = -1;

static inline void watch(int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};
    if (watcher < 0)
        watcher = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_ctl(watcher, EPOLL_CTL_ADD, fd, &event))
        fail("epoll_ctl");
}

static inline void unwatch(int fd) {
    epoll_ctl(watcher, EPOLL_CTL_DEL, fd, NULL);
}

/* Waits until there are some; how many. */
static inline int wait_ready(int *ready) {
    static struct epoll_event events[MOST_READY];
    int n = epoll_wait(watcher, events, MOST_READY, -1);
    for (int i = 0; i < n; i++)
        ready[i] = events[i].data.fd;
    return n;
}
#else
#include <poll.h>

enum { MOST_WATCHED = 4096 };
static struct pollfd watched[MOST_WATCHED];
static nfds_t watching = 0;

static inline void watch(int fd) {
    if (watching == MOST_WATCHED)
        fail("too many to watch");
    watched[watching++] = (struct pollfd){.fd = fd, .events = POLLIN};
}

static inline void unwatch(int fd) {
    for (nfds_t i = 0; i < watching; i++)
        if (watched[i].fd == fd)
            watched[i--] = watched[--watching];
}

/* Waits until there are some; how many. */
static inline int wait_ready(int *ready) {
    int n = 0;
    if (poll(watched, watching, -1) < 0)
        return 0;
    for (nfds_t i = 0; i < watching && n < MOST_READY; i++)
        if (watched[i].revents)
            ready[n++] = watched[i].fd;
    return n;
}
#endif
