/* SPDX-License-Identifier: Apache-2.0
 *
 * What the kernel alone costs, as CPU microseconds of the serving process: the floor that no server
 * on this machine gets below.
 *
 *   floor send SOCKETS BYTES ROUNDS   one send() of BYTES to each of SOCKETS readers in turn
 *   floor handshake SOCKETS           accept, read a request, write an answer, watch the socket
 *
 * The other side is a child process with one epoll; it reads at once what comes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_BYTES = 420, ANSWER_BYTES = 129, READ_BYTES = 1 << 17 };

static char data[READ_BYTES];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double cpu_us(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

static int listen_on(struct sockaddr_in *at) {
    socklen_t size = sizeof *at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    *at = (struct sockaddr_in){.sin_family = AF_INET};
    at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (void *)at, size) < 0 || listen(fd, 4096) < 0) die("listen");
    getsockname(fd, (void *)at, &size);
    return fd;
}

static void watch(int poller, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
}

static int dial(const struct sockaddr_in *to) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (const void *)to, sizeof *to) < 0) die("connect");
    return fd;
}

static void read_for_ever(const struct sockaddr_in *from, int count) {
    struct epoll_event happened[512];
    int poller = epoll_create1(0);
    for (int i = 0; i < count; i++) watch(poller, dial(from));
    for (;;) {
        int n = epoll_wait(poller, happened, 512, -1);
        for (int k = 0; k < n; k++)
            if (read(happened[k].data.fd, data, sizeof data) <= 0) _exit(0);
    }
}

static double sending(int listener, int count, int size, int rounds) {
    int *fds = malloc(count * sizeof *fds), one = 1;
    for (int i = 0; i < count; i++) {
        fds[i] = accept(listener, NULL, NULL);
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }
    double before = cpu_us();
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < count; i++)
            if (send(fds[i], data, size, 0) != size) die("send");
    return (cpu_us() - before) / ((double)rounds * count);
}

static void shake_hands(const struct sockaddr_in *with, int count) {
    for (int i = 0; i < count; i++) {
        int fd = dial(with);
        if (write(fd, data, REQUEST_BYTES) < 0 || read(fd, data, sizeof data) < 0) die("handshake");
    }
    pause();
}

static double accepting(int listener, int count) {
    struct epoll_event happened;
    int poller = epoll_create1(0);
    double before = cpu_us();
    watch(poller, listener);
    for (int done = 0; done < count;) {
        if (epoll_wait(poller, &happened, 1, -1) < 0) die("epoll_wait");
        if (happened.data.fd == listener) {
            watch(poller, accept4(listener, NULL, NULL, SOCK_NONBLOCK));
        } else {
            if (read(happened.data.fd, data, sizeof data) < 0) die("read");
            if (send(happened.data.fd, data, ANSWER_BYTES, 0) < 0) die("send");
            done++;
        }
    }
    return (cpu_us() - before) / count;
}

int main(int argc, char **argv) {
    int is_send = argc == 5 && strcmp(argv[1], "send") == 0;
    if (!is_send && !(argc == 3 && strcmp(argv[1], "handshake") == 0)) return 2;
    struct sockaddr_in at;
    int listener = listen_on(&at), count = atoi(argv[2]);
    pid_t child = fork();
    if (child == 0) {
        if (is_send)
            read_for_ever(&at, count);
        else
            shake_hands(&at, count);
        _exit(0);
    }
    printf("%.3f\n", is_send ? sending(listener, count, atoi(argv[3]), atoi(argv[4]))
                             : accepting(listener, count));
    kill(child, SIGKILL);
    return 0;
}
