/* A load generator for echo servers: WebSocket (RFC 6455) or bare TCP, one thread on epoll, every reply checked.
 *
 * echo        N connections, D messages in flight on each; messages a second and latencies.
 * handshakes  N slots that connect, upgrade, exchange one message, close, and begin again.
 * idle        opens N connections, exchanges one message on each, prints {"ready": N} and holds them until stdin ends.
 * broadcast   one connection sends, the server sends to all; a round ends when every connection has it.
 *
 * One JSON object on stdout. cpu_share is this program's own use of its core: near 1, it was the bottleneck. */
#define _GNU_SOURCE
#include "load/histogram.h"
#include "load/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#define AT_ONCE 64         /* connections being opened at any time: servers have short queues */
#define OPENING_SECONDS 300

struct plan plan;
struct listener listener;

static struct session *sessions;
static struct histogram latencies;
static unsigned started, opened, answered, received_in_round;
static uint64_t messages, before_measuring, begun_at, measured_from, round_at;
static struct rusage usage_from;
static unsigned source;

static unsigned next_source(void)
{
    source = source % 250 + 1;
    return source + 1; /* 127.0.0.2 and up */
}

static void start_more(uint64_t now)
{
    while (started < plan.connections && started - opened < AT_ONCE)
        session_start(&sessions[started++], 0, now);
}

static void begin_round(uint64_t now)
{
    received_in_round = 0;
    round_at = now;
    session_send(&sessions[0], 1, now);
    sessions[0].sent_count = 0; /* its own copy is counted with the rest */
}

static void all_open(uint64_t now)
{
    begun_at = now;
    if (plan.mode == BROADCAST)
        begin_round(now);
    for (unsigned i = 0; plan.mode == ECHO && i < plan.connections; i++)
        session_send(&sessions[i], plan.in_flight, now);
}

static void count(uint64_t since, uint64_t now)
{
    messages++;
    histogram_add(&latencies, now - since);
}

static void on_opened(struct session *s)
{
    uint64_t now = now_ns();
    if (plan.mode == HANDSHAKES) {
        session_send(s, 1, now);
        return;
    }
    opened++;
    start_more(now);
    if (plan.mode == IDLE)
        session_send(s, 1, now);
    else if (opened == plan.connections)
        all_open(now);
}

static unsigned replies; /* of the read that is being taken in */

static void on_message(struct session *s, uint64_t now)
{
    switch (plan.mode) {
    case ECHO:
        count(session_sent_at(s), now);
        replies++;
        break;
    case HANDSHAKES:
        if (plan.raw)
            listener.closed(s, now);
        else
            session_begin_close(s);
        break;
    case IDLE:
        session_sent_at(s);
        if (++answered == plan.connections) {
            printf("{\"ready\": %u}\n", plan.connections);
            fflush(stdout);
        }
        break;
    case BROADCAST:
        messages++;
        if (++received_in_round == plan.connections) {
            histogram_add(&latencies, now - round_at);
            begin_round(now);
        }
        break;
    }
}

static void on_drained(struct session *s, uint64_t now)
{
    unsigned again = replies;
    replies = 0;
    if (again)
        session_send(s, again, now);
}

static void on_closed(struct session *s, uint64_t now)
{
    count(s->started_at, now);
    session_drop(s);
    session_start(s, next_source(), now);
}

static double seconds_of(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

static void report(uint64_t now)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double elapsed = (double)(now - measured_from) / 1e9;
    double user = seconds_of(usage.ru_utime) - seconds_of(usage_from.ru_utime);
    double system = seconds_of(usage.ru_stime) - seconds_of(usage_from.ru_stime);
    printf("{\"messages_in_all\": %llu, \"seconds_in_all\": %.4f, ",
           (unsigned long long)(messages + before_measuring), (double)(now - begun_at) / 1e9);
    printf("\"messages\": %llu, \"seconds\": %.4f, \"per_second\": %.1f, \"in_flight\": %u, \"connections\": %u, "
           "\"size\": %zu, \"cpu_share\": %.3f, \"cpu_user\": %.3f, \"cpu_system\": %.3f, \"latency_us\": {",
           (unsigned long long)messages, elapsed, (double)messages / elapsed, plan.in_flight, plan.connections, plan.size,
           (user + system) / elapsed, user, system);
    static const struct { const char *name; double share; } marks[] = {{"p50", .5}, {"p90", .9}, {"p99", .99}, {"p999", .999}};
    for (unsigned i = 0; i < 4; i++)
        printf("\"%s\": %.1f, ", marks[i].name, (double)histogram_percentile(&latencies, marks[i].share) / 1e3);
    printf("\"max\": %.1f}}\n", (double)latencies.largest / 1e3);
}

static void start_measuring(uint64_t now)
{
    before_measuring = messages;
    messages = 0;
    histogram_clear(&latencies);
    getrusage(RUSAGE_SELF, &usage_from);
    measured_from = now;
}

/* True when the run is over. */
static bool keep_time(uint64_t now, uint64_t launched_at)
{
    if (plan.mode == IDLE)
        return false;
    if (!begun_at) {
        if (now - launched_at > OPENING_SECONDS * 1000000000ull)
            die("not all connections opened in time");
        return false;
    }
    if (!measured_from && now - begun_at >= (uint64_t)(plan.warmup * 1e9))
        start_measuring(now);
    return measured_from && now - measured_from >= (uint64_t)(plan.seconds * 1e9);
}

static void watch_stdin(int epoll)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (plan.mode == IDLE && epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) < 0)
        die("idle mode waits for the end of a pipe on stdin");
}

int main(int argc, char **argv)
{
    struct epoll_event events[256];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    plan_read(&plan, argc, argv);
    listener = (struct listener){on_opened, on_message, on_drained, on_closed};
    sessions = calloc(plan.connections, sizeof *sessions);
    session_poll_with(epoll);
    watch_stdin(epoll);
    uint64_t launched_at = now_ns(), now = launched_at;
    if (plan.mode == HANDSHAKES) {
        begun_at = now;
        for (unsigned i = 0; i < plan.connections; i++)
            session_start(&sessions[i], next_source(), now);
    } else {
        start_more(now);
    }
    while (!keep_time(now = now_ns(), launched_at)) {
        int ready = epoll_wait(epoll, events, 256, 50);
        for (int i = 0; i < ready; i++) {
            if (!events[i].data.ptr)
                return 0; /* idle: whoever started us has let go */
            session_ready(events[i].data.ptr, events[i].events);
        }
    }
    report(now);
    return 0;
}
