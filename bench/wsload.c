/* SPDX-License-Identifier: Apache-2.0
 *
 * A WebSocket load client: thousands of sockets, one thread, one epoll.
 *
 *   wsload -p PORT -n SOCKETS -c COOKIES [-u PATH] [-w WINDOW] [-a ADDRESSES] [-q SILENT]
 *
 * COOKIES is a file with one Cookie header per line; socket i uses line i modulo the lines. At most
 * WINDOW handshakes are under way at once. The sockets come from ADDRESSES loopback addresses, so
 * that there may be more of them than one address has ports. The last SILENT sockets never read
 * what follows their handshake.
 *
 * It prints one JSON line when all handshakes are over, then one for each line on its standard
 * input: `total` (messages since the start), `report` (counters since the last report, and a new
 * start for them) or `stop` (a report, then the end). Messages may end in `"t":NANOSECONDS}` of
 * CLOCK_MONOTONIC; latencies are counted from there. Pings are answered.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTING, WAITING, OPEN, GONE };
enum { CONTROL = 0xffffffffu, EVENTS = 1024, READ_BYTES = 1 << 18, TAIL_BYTES = 64 };

typedef struct {
    int fd, state;
    unsigned char *rest; /* an incomplete message */
    size_t rest_size;
} Socket;

static int port, count, window = 64, addresses = 1, silent;
static const char *path = "/", *cookie_file;
static char **cookies;
static int cookie_count;

static Socket *sockets;
static int poller, started, ready, refused, closed;
static double began, ready_at, last_message;
static long total, messages, bytes, pings;
static uint32_t *latencies;
static size_t latency_count, latency_room;
static unsigned char *buffer;

static uint64_t clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static double seconds(void) { return clock_ns() / 1e9; }

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void read_cookies(void) {
    FILE *file = fopen(cookie_file, "r");
    char *line = NULL;
    size_t room = 0;
    if (!file) die(cookie_file);
    while (getline(&line, &room, file) > 0) {
        line[strcspn(line, "\r\n")] = 0;
        cookies = realloc(cookies, (cookie_count + 1) * sizeof *cookies);
        cookies[cookie_count++] = strdup(line);
    }
    free(line);
    fclose(file);
}

static void watch(int i, int how, uint32_t events) {
    struct epoll_event event = {.events = events, .data.u32 = i};
    if (epoll_ctl(poller, how, sockets[i].fd, &event) < 0) die("epoll_ctl");
}

static void drop(int i) {
    close(sockets[i].fd);
    free(sockets[i].rest);
    sockets[i].rest = NULL;
    sockets[i].rest_size = 0;
    sockets[i].state = GONE;
}

static int is_silent(int i) { return i >= count - silent; }

static void dial(int i) {
    int one = 1, small = 4096;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in from = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) die("socket");
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (is_silent(i)) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (addresses > 1) {
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + i % addresses);
        if (bind(fd, (void *)&from, sizeof from) < 0) die("bind");
    }
    if (connect(fd, (void *)&to, sizeof to) < 0 && errno != EINPROGRESS) die("connect");
    sockets[i].fd = fd;
    sockets[i].state = CONNECTING;
    watch(i, EPOLL_CTL_ADD, EPOLLOUT);
}

static void refuse(int i) {
    refused++;
    drop(i);
}

static void ask(int i) {
    char request[4096];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        "Sec-WebSocket-Version: 13\r\nCookie: %s\r\n\r\n",
                        path, port, cookies[i % cookie_count]);
    if (write(sockets[i].fd, request, size) != size) {
        refuse(i);
        return;
    }
    sockets[i].state = WAITING;
    watch(i, EPOLL_CTL_MOD, EPOLLIN);
}

static void note_latency(const unsigned char *text, size_t size) {
    size_t tail = size < TAIL_BYTES ? size : TAIL_BYTES;
    const char *field = memmem(text + size - tail, tail, "\"t\":", 4);
    if (!field) return;
    if (latency_count == latency_room) {
        latency_room = latency_room ? 2 * latency_room : 65536;
        latencies = realloc(latencies, latency_room * sizeof *latencies);
    }
    field += 4 + (field[4] == ' ');
    latencies[latency_count++] = (clock_ns() - strtoull(field, NULL, 10)) / 1000;
}

static void on_frame(int i, int opcode, const unsigned char *payload, size_t size) {
    if (opcode == 1 || opcode == 2) {
        total++;
        messages++;
        bytes += size;
        last_message = seconds();
        note_latency(payload, size);
    } else if (opcode == 9 && size < 126) {
        unsigned char pong[6 + 125] = {0x8a, 0x80 | size}; /* the mask is zero */
        memcpy(pong + 6, payload, size);
        pings++;
        if (write(sockets[i].fd, pong, 6 + size) < 0) return;
    }
}

/* How many of the bytes were whole frames. */
static size_t frames(int i, const unsigned char *data, size_t size) {
    size_t at = 0;
    while (size - at >= 2) {
        const unsigned char *head = data + at;
        size_t length = head[1] & 127, head_size = 2;
        if (length == 126) {
            if (size - at < 4) break;
            length = head[2] << 8 | head[3];
            head_size = 4;
        } else if (length == 127) {
            if (size - at < 10) break;
            length = 0;
            for (int k = 2; k < 10; k++) length = length << 8 | head[k];
            head_size = 10;
        }
        if (size - at - head_size < length) break;
        on_frame(i, head[0] & 15, head + head_size, length);
        at += head_size + length;
    }
    return at;
}

/* The answer's size, 0 while it is incomplete, -1 when it is no 101. */
static long answer(const unsigned char *data, size_t size) {
    const unsigned char *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end) return 0;
    return memcmp(data, "HTTP/1.1 101", 12) ? -1 : end - data + 4;
}

/* The socket's rest and what it has just read are in `buffer`. */
static void take(int i, size_t size) {
    Socket *s = &sockets[i];
    size_t at = 0;
    if (s->state == WAITING) {
        long head = answer(buffer, size);
        if (head < 0) {
            refuse(i);
            return;
        }
        if (head > 0) {
            s->state = OPEN;
            ready++;
            if (is_silent(i)) watch(i, EPOLL_CTL_DEL, 0);
        }
        at = head;
    }
    if (s->state == OPEN) at += frames(i, buffer + at, size - at);
    free(s->rest);
    s->rest_size = size - at;
    s->rest = s->rest_size ? malloc(s->rest_size) : NULL;
    if (s->rest) memcpy(s->rest, buffer + at, s->rest_size);
}

static void on_readable(int i) {
    Socket *s = &sockets[i];
    static size_t room;
    if (room < s->rest_size + READ_BYTES) {
        room = s->rest_size + READ_BYTES;
        buffer = realloc(buffer, room);
    }
    if (s->rest_size) memcpy(buffer, s->rest, s->rest_size);
    ssize_t got = read(s->fd, buffer + s->rest_size, READ_BYTES);
    if (got > 0) {
        take(i, s->rest_size + got);
    } else if (got == 0 || errno != EAGAIN) {
        if (s->state == WAITING) {
            refuse(i);
        } else {
            closed++;
            drop(i);
        }
    }
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t percentile(double share) {
    return latency_count ? latencies[(size_t)((latency_count - 1) * share)] : 0;
}

static void report(void) {
    qsort(latencies, latency_count, sizeof *latencies, ascending);
    printf("{\"messages\":%ld,\"bytes\":%ld,\"pings\":%ld,\"open\":%d,\"closed\":%d,"
           "\"p50_us\":%u,\"p90_us\":%u,\"p99_us\":%u,\"max_us\":%u,\"last_message_s\":%.4f}\n",
           messages, bytes, pings, ready - closed, closed, percentile(.5), percentile(.9),
           percentile(.99), percentile(1), last_message > began ? last_message - began : 0);
    messages = bytes = pings = 0;
    latency_count = 0;
}

/* Whether to go on. */
static int obey(void) {
    char line[16];
    if (!fgets(line, sizeof line, stdin)) return 0;
    if (strncmp(line, "total", 5) == 0)
        printf("{\"total\":%ld}\n", total);
    else
        report();
    fflush(stdout);
    return strncmp(line, "stop", 4) != 0;
}

static void greet(void) {
    ready_at = seconds();
    printf("{\"seconds\":%.4f,\"open\":%d,\"refused\":%d}\n", ready_at - began, ready, refused);
    fflush(stdout);
}

static void options(int argc, char **argv) {
    for (int option; (option = getopt(argc, argv, "p:n:c:u:w:a:q:")) != -1;) {
        switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'n': count = atoi(optarg); break;
        case 'c': cookie_file = optarg; break;
        case 'u': path = optarg; break;
        case 'w': window = atoi(optarg); break;
        case 'a': addresses = atoi(optarg); break;
        case 'q': silent = atoi(optarg); break;
        default: exit(2);
        }
    }
    if (!port || !cookie_file) {
        fprintf(stderr, "usage: wsload -p PORT -n SOCKETS -c COOKIES [-u PATH] …\n");
        exit(2);
    }
}

int main(int argc, char **argv) {
    struct epoll_event happened[EVENTS], control = {.events = EPOLLIN, .data.u32 = CONTROL};
    options(argc, argv);
    read_cookies();
    setvbuf(stdin, NULL, _IONBF, 0); /* so that epoll sees every line */
    sockets = calloc(count, sizeof *sockets);
    poller = epoll_create1(0);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, 0, &control) < 0) die("epoll_ctl");
    began = seconds();
    for (;;) {
        while (started < count && started - ready - refused < window) dial(started++);
        if (!ready_at && ready + refused == count) greet();
        int n = epoll_wait(poller, happened, EVENTS, -1);
        for (int k = 0; k < n; k++) {
            uint32_t i = happened[k].data.u32;
            if (i == CONTROL) {
                if (!obey()) return 0;
            } else if (sockets[i].state == CONNECTING) {
                ask(i);
            } else if (sockets[i].state != GONE) {
                on_readable(i);
            }
        }
    }
}
