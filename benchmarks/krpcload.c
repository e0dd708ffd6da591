/* Sends KRPC queries from one UDP socket, keeps a number of them outstanding, and counts the responses.
 *
 *   krpcload PORT LOCAL_PORT WINDOW WARM_SECONDS SECONDS METHOD ARGUMENT ID FILE
 *
 * PORT is the node's port on loopback; WINDOW is the number of outstanding queries. METHOD is the queries' method and
 * ARGUMENT the argument that carries the target ("-": none); ID is our node id as 40 hex digits; FILE has the targets,
 * 20 bytes each, which are used in turn. Queries of the node are answered. Prints one line of JSON, in which "cpu" is
 * the processor time from the start; ends with status 1 when an answer is not a response.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define ID_BYTES 20
#define MAX_WINDOW 256
#define MAX_TARGETS 4096
#define MAX_QUERY 160
#define MAX_DATAGRAM 65536
#define SILENCE_MICROSECONDS 300000
#define TAIL 64

struct query {
    char bytes[MAX_QUERY];
    size_t size;
    size_t transaction; /* the offset of its two bytes */
};

static struct query queries[MAX_TARGETS];
static unsigned char outstanding[65536];
static char received[MAX_WINDOW][MAX_DATAGRAM];
static unsigned char own_id[ID_BYTES];

static void fail(const char *what) {
    fprintf(stderr, "krpcload: %s\n", what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void append(struct query *query, const void *bytes, size_t size) {
    if (query->size + size > MAX_QUERY)
        fail("the query is too long");
    memcpy(query->bytes + query->size, bytes, size);
    query->size += size;
}

static void append_text(struct query *query, const char *text) { append(query, text, strlen(text)); }

static void build(struct query *query, const char *method, const char *argument, const unsigned char *target) {
    char text[64];
    append_text(query, "d1:ad2:id20:");
    append(query, own_id, ID_BYTES);
    if (target != NULL) {
        snprintf(text, sizeof text, "%zu:%s20:", strlen(argument), argument);
        append_text(query, text);
        append(query, target, ID_BYTES);
    }
    snprintf(text, sizeof text, "e1:q%zu:%s1:t2:", strlen(method), method);
    append_text(query, text);
    query->transaction = query->size;
    append_text(query, "??1:y1:qe");
}

static void answer(int fd, const char *datagram, size_t size) {
    /* The transaction id follows "1:t"; ours and the peers' are short strings. */
    const char *found = memmem(datagram, size, "1:t", 3);
    char reply[256];
    size_t length = 0, number;
    char *end;
    if (found == NULL)
        return;
    number = strtoul(found + 3, &end, 10);
    if (end == NULL || *end != ':' || number > 64 || end + 1 + number > datagram + size)
        return;
    length = (size_t)snprintf(reply, sizeof reply, "d1:rd2:id20:");
    memcpy(reply + length, own_id, ID_BYTES);
    length += ID_BYTES;
    length += (size_t)snprintf(reply + length, sizeof reply - length, "5:nodes0:e1:t%zu:", number);
    memcpy(reply + length, end + 1, number);
    length += number;
    length += (size_t)snprintf(reply + length, sizeof reply - length, "1:y1:re");
    if (send(fd, reply, length, 0) < 0)
        return;
}

/* Returns the transaction id of a response, -1 if it is not ours. Keys are sorted, so that "y" is the last one. */
static int transaction_of(const char *datagram, size_t size) {
    size_t from = size > TAIL ? size - TAIL : 0;
    const char *found = memmem(datagram + from, size - from, "1:t2:", 5);
    const unsigned char *id;
    if (found == NULL || found + 7 > datagram + size)
        return -1;
    id = (const unsigned char *)found + 5;
    return id[0] << 8 | id[1];
}

int main(int count, char **arguments) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct mmsghdr in[MAX_WINDOW], out[MAX_WINDOW];
    struct iovec in_parts[MAX_WINDOW], out_parts[MAX_WINDOW];
    struct query sent[MAX_WINDOW];
    struct timeval silence = {.tv_usec = SILENCE_MICROSECONDS};
    struct rusage usage;
    unsigned long responses = 0, bytes = 0, lost = 0;
    unsigned window, targets = 0, in_flight = 0, next_target = 0, transaction = 0;
    int fd, room = 1 << 20, measuring = 0;
    double warm, seconds, began, ends;

    if (count != 10)
        fail("usage: krpcload PORT LOCAL_PORT WINDOW WARM_SECONDS SECONDS METHOD ARGUMENT ID FILE");
    window = (unsigned)atoi(arguments[3]);
    warm = atof(arguments[4]);
    seconds = atof(arguments[5]);
    if (window < 1 || window > MAX_WINDOW || seconds <= 0)
        fail("the window or the time is out of range");
    if (strlen(arguments[8]) != 2 * ID_BYTES)
        fail("ID takes 40 hex digits");
    for (int i = 0; i < ID_BYTES; i++)
        if (sscanf(arguments[8] + 2 * i, "%2hhx", &own_id[i]) != 1)
            fail("ID takes 40 hex digits");
    if (strcmp(arguments[7], "-") == 0) {
        build(&queries[targets++], arguments[6], NULL, NULL);
    } else {
        unsigned char target[ID_BYTES];
        FILE *file = fopen(arguments[9], "rb");
        if (file == NULL)
            fail("the file of targets cannot be read");
        while (targets < MAX_TARGETS && fread(target, ID_BYTES, 1, file) == 1)
            build(&queries[targets++], arguments[6], arguments[7], target);
        fclose(file);
        if (targets == 0)
            fail("the file of targets is empty");
    }

    fd = socket(AF_INET, SOCK_DGRAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((unsigned short)atoi(arguments[2]));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("the local port cannot be opened");
    address.sin_port = htons((unsigned short)atoi(arguments[1]));
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail("the node's port cannot be reached");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &silence, sizeof silence);

    memset(in, 0, sizeof in);
    memset(out, 0, sizeof out);
    for (unsigned i = 0; i < window; i++) {
        in_parts[i] = (struct iovec){received[i], MAX_DATAGRAM};
        in[i].msg_hdr = (struct msghdr){.msg_iov = &in_parts[i], .msg_iovlen = 1};
        out[i].msg_hdr = (struct msghdr){.msg_iov = &out_parts[i], .msg_iovlen = 1};
    }

    began = now();
    ends = began + warm;
    for (;;) {
        double moment = now();
        unsigned fresh = window - in_flight;
        int came;
        if (moment >= ends) {
            if (measuring) {
                double used;
                getrusage(RUSAGE_SELF, &usage);
                used = (double)usage.ru_utime.tv_sec + (double)usage.ru_stime.tv_sec +
                       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
                printf("{\"responses\": %lu, \"seconds\": %.6f, \"lost\": %lu, \"bytes\": %lu, \"cpu\": %.6f}\n",
                       responses, moment - began, lost, bytes, used);
                return 0;
            }
            measuring = 1;
            responses = bytes = lost = 0;
            began = moment;
            ends = began + seconds;
        }
        for (unsigned i = 0; i < fresh; i++) {
            struct query *query = &sent[i];
            *query = queries[next_target];
            next_target = (next_target + 1) % targets;
            transaction = (transaction + 1) & 0xffff;
            query->bytes[query->transaction] = (char)(transaction >> 8);
            query->bytes[query->transaction + 1] = (char)(transaction & 0xff);
            outstanding[transaction] = 1;
            out_parts[i] = (struct iovec){query->bytes, query->size};
        }
        for (unsigned done = 0; done < fresh;) {
            int gone = sendmmsg(fd, out + done, fresh - done, 0);
            if (gone < 0) {
                if (errno == EINTR || errno == ECONNREFUSED)
                    continue;
                fail("a query cannot be sent");
            }
            done += (unsigned)gone;
        }
        in_flight = window;
        came = recvmmsg(fd, in, window, MSG_WAITFORONE, NULL);
        if (came < 0) {
            if (errno == EINTR)
                continue;
            if (errno == ECONNREFUSED)
                fail("the node does not listen any more");
            /* No answer for 300 ms: the outstanding queries are lost. */
            lost += in_flight;
            in_flight = 0;
            memset(outstanding, 0, sizeof outstanding);
            continue;
        }
        for (int i = 0; i < came; i++) {
            const char *datagram = received[i];
            size_t size = in[i].msg_len;
            int id;
            if (size >= 7 && memcmp(datagram + size - 7, "1:y1:qe", 7) == 0) {
                answer(fd, datagram, size);
                continue;
            }
            if (size < 7 || memcmp(datagram + size - 7, "1:y1:re", 7) != 0)
                fail("an answer is not a response");
            id = transaction_of(datagram, size);
            if (id < 0 || !outstanding[id])
                continue;
            outstanding[id] = 0;
            in_flight--;
            responses++;
            bytes += size;
        }
    }
}
