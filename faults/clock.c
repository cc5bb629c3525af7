/* A clock that runs faster, for one process that preloads this (LD_PRELOAD): see clock.py.

   FAULTS_CLOCK=rate:monotonic:realtime, the last two in nanoseconds, say when the fast clock began. Whatever waits for
   a time waits for its part of it: the kernel is given real times, the program sees fast ones. What names no clock
   (pthread_cond_timedwait) is told by its size: no machine is up for thirty years. CLOCK_BOOTTIME stays as it is.
   FAULTS_CLOCK_AHEAD names a file of eight bytes: by so many nanoseconds the wall clock is ahead, at any moment anew.
   libfaketime (0.9.10) lacks sem_clockwait, pthread_cond_clockwait and futex, by which Python and Rust wait. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
typedef struct timespec spec;

static int64_t rate, began_monotonic, began_realtime;
static const int64_t nothing, *ahead = &nothing;
static long (*next_syscall)(long, ...);

__attribute__((constructor)) static void begin(void) {
    const char *said = getenv("FAULTS_CLOCK");
    long long r, m, w;
    next_syscall = NEXT(syscall);
    if (said == NULL || sscanf(said, "%lld:%lld:%lld", &r, &m, &w) != 3 || r < 1) {
        fprintf(stderr, "FAULTS_CLOCK=%s, expected rate:monotonic:realtime\n", said ? said : "");
        _exit(97);
    }
    began_monotonic = m, began_realtime = w, rate = r;
    if ((said = getenv("FAULTS_CLOCK_AHEAD"))) {
        int fd = open(said, O_RDONLY | O_CLOEXEC);
        void *map = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) {
            fprintf(stderr, "FAULTS_CLOCK_AHEAD=%s cannot be mapped\n", said);
            _exit(97);
        }
        ahead = map;
        close(fd);
    }
}

static int64_t ns(const spec *at) { return at->tv_sec * SECOND + at->tv_nsec; }
static spec of(int64_t at) { spec s = {at / SECOND, at % SECOND}; return s; }
static int64_t part(int64_t span) { return span <= 0 ? span : (span + rate - 1) / rate; }
static int is_fast(clockid_t id) {
    return rate && (id == CLOCK_REALTIME || id == CLOCK_MONOTONIC || id == CLOCK_REALTIME_COARSE ||
                    id == CLOCK_MONOTONIC_COARSE || id == CLOCK_MONOTONIC_RAW);
}
static int is_wall(clockid_t id) { return id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE; }
static int64_t began(clockid_t id) { return is_wall(id) ? began_realtime + *ahead : began_monotonic; }
static spec real_deadline(clockid_t id, const spec *at) {
    int64_t since = ns(at) - began(id);
    return of(since <= 0 ? 0 : began(id) + part(since));
}
static clockid_t clock_of(const spec *at) { return at->tv_sec > 1000000000 ? CLOCK_REALTIME : CLOCK_MONOTONIC; }
static int ms(int timeout) { return timeout <= 0 ? timeout : (int)part(timeout); }

static int64_t fast_now(clockid_t id) {
    spec now;
    if (!next_syscall) next_syscall = NEXT(syscall);
    next_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return began(id) + (ns(&now) - began_monotonic) * rate;
}

int clock_gettime(clockid_t id, spec *out) {
    if (!is_fast(id)) {
        if (!next_syscall) next_syscall = NEXT(syscall);
        return (int)next_syscall(SYS_clock_gettime, id, out);
    }
    *out = of(fast_now(id));
    return 0;
}

int gettimeofday(struct timeval *out, void *zone) {
    spec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec, out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    spec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}

int nanosleep(const spec *span, spec *left) {
    spec real = of(part(ns(span))), rest = {0, 0};
    int result = NEXT(nanosleep)(&real, &rest);
    if (result && left) *left = of(ns(&rest) * rate);
    return result;
}

int clock_nanosleep(clockid_t id, int flags, const spec *at, spec *left) {
    spec real, rest = {0, 0};
    int result;
    if (!is_fast(id)) return NEXT(clock_nanosleep)(id, flags, at, left);
    real = flags & TIMER_ABSTIME ? real_deadline(id, at) : of(part(ns(at)));
    result = NEXT(clock_nanosleep)(id, flags, &real, &rest);
    if (result && left && !(flags & TIMER_ABSTIME)) *left = of(ns(&rest) * rate);
    return result;
}

int usleep(useconds_t span) { spec s = of((int64_t)span * 1000); return nanosleep(&s, NULL); }
unsigned sleep(unsigned span) { spec s = {span, 0}; return nanosleep(&s, NULL) ? span : 0; }

int sem_timedwait(sem_t *sem, const spec *at) {
    spec real = real_deadline(CLOCK_REALTIME, at);
    return NEXT(sem_timedwait)(sem, &real);
}

int sem_clockwait(sem_t *sem, clockid_t id, const spec *at) {
    spec real = real_deadline(id, at);
    return NEXT(sem_clockwait)(sem, id, &real);
}

int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const spec *at) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const spec *);
    spec real = real_deadline(clock_of(at), at);
    if (!next) next = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!next) next = NEXT(pthread_cond_timedwait);
    return next(cond, mutex, &real);
}

int pthread_cond_clockwait(pthread_cond_t *cond, pthread_mutex_t *mutex, clockid_t id, const spec *at) {
    spec real = real_deadline(id, at);
    return NEXT(pthread_cond_clockwait)(cond, mutex, id, &real);
}

int poll(struct pollfd *fds, nfds_t count, int timeout) { return NEXT(poll)(fds, count, ms(timeout)); }

int ppoll(struct pollfd *fds, nfds_t count, const spec *span, const sigset_t *mask) {
    spec real;
    if (span) real = of(part(ns(span)));
    return NEXT(ppoll)(fds, count, span ? &real : NULL, mask);
}

int select(int count, fd_set *r, fd_set *w, fd_set *e, struct timeval *span) {
    struct timeval real;
    if (span) {
        int64_t us = part(span->tv_sec * 1000000LL + span->tv_usec);
        real.tv_sec = us / 1000000, real.tv_usec = us % 1000000;
    }
    return NEXT(select)(count, r, w, e, span ? &real : NULL);
}

int pselect(int count, fd_set *r, fd_set *w, fd_set *e, const spec *span, const sigset_t *mask) {
    spec real;
    if (span) real = of(part(ns(span)));
    return NEXT(pselect)(count, r, w, e, span ? &real : NULL, mask);
}

int epoll_wait(int fd, struct epoll_event *events, int most, int timeout) {
    return NEXT(epoll_wait)(fd, events, most, ms(timeout));
}

int epoll_pwait(int fd, struct epoll_event *events, int most, int timeout, const sigset_t *mask) {
    return NEXT(epoll_pwait)(fd, events, most, ms(timeout), mask);
}

int epoll_pwait2(int fd, struct epoll_event *events, int most, const spec *span, const sigset_t *mask) {
    spec real;
    if (span) real = of(part(ns(span)));
    return NEXT(epoll_pwait2)(fd, events, most, span ? &real : NULL, mask);
}

long syscall(long number, ...) {
    long a[6];
    spec real;
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (!next_syscall) next_syscall = NEXT(syscall);
    if (rate && number == SYS_futex && a[3]) {
        int command = a[1] & FUTEX_CMD_MASK;
        const spec *at = (const spec *)a[3];
        if (command == FUTEX_WAIT) real = of(part(ns(at))), a[3] = (long)&real;
        else if (command == FUTEX_WAIT_BITSET)
            real = real_deadline(a[1] & FUTEX_CLOCK_REALTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC, at), a[3] = (long)&real;
    } else if (rate && number == SYS_clock_gettime)
        return clock_gettime((clockid_t)a[0], (spec *)a[1]);
    return next_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
