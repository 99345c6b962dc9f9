/* The kernel's floor: a WebSocket server that sends each message to each connection by one send().

   It knows the benchmark's client only: one handshake key, frames under a mask of zeros, one control
   connection. Usage: loop PORT BACKLOG */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 65536
#define MAX_FRAME 65536

enum state { FREE, HANDSHAKE, LISTENER, CONTROL };

static enum state states[MAX_CONNECTIONS];
static int listeners[MAX_CONNECTIONS], listener_count;

/* The answer to the sample key of RFC 6455, section 1.3. */
static const char accepted[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static size_t framed(char *frame, const char *text, size_t length) {
    size_t head = 2;
    frame[0] = (char)0x81;
    if (length < 126) {
        frame[1] = (char)length;
    } else {
        frame[1] = 126;
        frame[2] = (char)(length >> 8);
        frame[3] = (char)length;
        head = 4;
    }
    memcpy(frame + head, text, length);
    return head + length;
}

static void send_all(int fd, const char *data, size_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno == EAGAIN) continue; /* its buffer is full: the reader is slower than this loop */
            return;
        }
        data += sent;
        length -= (size_t)sent;
    }
}

static void say(int fd, const char *text) {
    char frame[MAX_FRAME + 4];
    send_all(fd, frame, framed(frame, text, strlen(text)));
}

static long number_of(const char *command, const char *key) {
    const char *found = strstr(command, key);
    return found ? atol(found + strlen(key)) : 0;
}

static void send_message(long number, long size) {
    char text[MAX_FRAME], frame[MAX_FRAME + 4];
    int length = snprintf(text, sizeof text, "{\"author\":\"Server\",\"body\":\"%08ld ", number);
    memset(text + length, '.', (size_t)size - 9);
    length += (int)size - 9;
    length += snprintf(text + length, sizeof text - (size_t)length, "\"}");
    size_t whole = framed(frame, text, (size_t)length);
    for (int i = 0; i < listener_count; i++) send_all(listeners[i], frame, whole);
}

static void perform(int fd, const char *command) {
    double begun = now();
    if (strstr(command, "\"send\"")) {
        long first = number_of(command, "\"first\": "), count = number_of(command, "\"count\": ");
        long size = number_of(command, "\"size\": ");
        for (long i = 0; i < count; i++) send_message(first + i, size);
    }
    char answer[64];
    snprintf(answer, sizeof answer, "{\"begun\": %.9f}", begun);
    say(fd, answer);
}

static void leave(int fd) {
    for (int i = 0; i < listener_count; i++)
        if (listeners[i] == fd) {
            listeners[i] = listeners[--listener_count];
            break;
        }
    states[fd] = FREE;
    close(fd);
}

static void handshake(int fd, const char *request) {
    send_all(fd, accepted, sizeof accepted - 1);
    if (strncmp(request, "GET /bench", 10) == 0) {
        states[fd] = CONTROL;
        return;
    }
    states[fd] = LISTENER;
    listeners[listener_count++] = fd;
    say(fd, "{\"author\":\"Server\",\"body\":\"Welcome!\"}");
}

/* The client writes a whole request or command at once, so one read brings it. */
static void receive(int fd) {
    char data[8192];
    ssize_t length = recv(fd, data, sizeof data - 1, 0);
    if (length <= 0) {
        leave(fd);
        return;
    }
    data[length] = 0;
    if (states[fd] == HANDSHAKE) {
        handshake(fd, data);
    } else if (states[fd] == CONTROL) {
        int head = (data[1] & 0x7f) == 126 ? 8 : 6;
        perform(fd, data + head);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(server, (struct sockaddr *)&address, sizeof address) || listen(server, atoi(argv[2]))) {
        perror("loop");
        return 1;
    }
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = server}, events[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, server, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd != server) {
                receive(fd);
                continue;
            }
            while ((fd = accept4(server, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                if (fd >= MAX_CONNECTIONS) {
                    close(fd);
                    continue;
                }
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                states[fd] = HANDSHAKE;
                event.events = EPOLLIN;
                event.data.fd = fd;
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
            }
        }
    }
}
