/* Keeps one core from halting, and counts how much of it nobody else wanted. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdint.h>
#include <time.h>

enum { OURS_NS = 2000 }; /* a longer gap between two looks at the clock was somebody else's time, or an interrupt's */

static int64_t look(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Runs on `core` at the priority of the idle class until `*stop`; adds to `*soaked_ns`. 0, or errno. */
int soak(int core, volatile int64_t *soaked_ns, const volatile int32_t *stop)
{
    struct sched_param none = {0};
    cpu_set_t here;
    int64_t before, now;

    CPU_ZERO(&here);
    CPU_SET(core, &here);
    if (sched_setaffinity(0, sizeof here, &here) || sched_setscheduler(0, SCHED_IDLE, &none))
        return errno;
    for (before = look(); !*stop; before = now) {
        sched_yield(); /* on its way back from the kernel it makes room for whoever was woken; else that waits for a tick */
        now = look();
        if (now - before < OURS_NS)
            *soaked_ns += now - before;
    }
    return 0;
}
