/* An inverter made with libmodbus, for bench_fakemeter.py: asks a meter and times its first byte.
 *
 * It makes a pseudo-terminal, says the name of its other end, and takes orders from its standard
 * input: `COUNT RATE FUNCTION ADDRESS WORDS UNIT`. For each it asks COUNT times, RATE times a second,
 * and answers with one line of microseconds from request to first reply byte, -1 where there was no
 * good reply. It runs with the least delay that the system grants, so that what is timed is the meter.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <modbus.h>

#define TIMEOUT_MS 300

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static void sleep_until_us(double due_us)
{
    struct timespec due = {(time_t) (due_us / 1e6), 0};
    due.tv_nsec = (long) ((due_us - due.tv_sec * 1e6) * 1e3);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
        ;
}

static double ask(modbus_t *context, int terminal, const uint8_t *request, int words)
{
    uint8_t reply[MODBUS_RTU_MAX_ADU_LENGTH];
    struct pollfd readable = {terminal, POLLIN, 0};
    tcflush(terminal, TCIFLUSH);
    double asked_us = now_us();
    if (modbus_send_raw_request(context, request, 6) != 8)
        return -1.0;
    if (poll(&readable, 1, TIMEOUT_MS) != 1)
        return -1.0;
    double took_us = now_us() - asked_us;
    return modbus_receive_confirmation(context, reply) == 5 + 2 * words ? took_us : -1.0;
}

int main(void)
{
    struct sched_param first = {.sched_priority = 1};
    int terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) < 0 || unlockpt(terminal) < 0)
        return 1;
    int held = open(ptsname(terminal), O_RDWR | O_NOCTTY); /* The far end is never hung up. */
    struct termios raw;
    if (held < 0 || tcgetattr(held, &raw) < 0)
        return 1;
    cfmakeraw(&raw);
    tcsetattr(held, TCSANOW, &raw);
    modbus_t *context = modbus_new_rtu("/dev/null", 115200, 'N', 8, 1);
    if (context == NULL || modbus_set_socket(context, terminal) < 0)
        return 1;
    modbus_set_response_timeout(context, 0, TIMEOUT_MS * 1000);
    int is_first = sched_setscheduler(0, SCHED_FIFO, &first) == 0;
    mlockall(MCL_CURRENT | MCL_FUTURE);
    printf("%s %s\n", ptsname(terminal), is_first ? "first" : "plain");
    fflush(stdout);
    int count, function, address, words, unit;
    double rate;
    while (scanf("%d %lf %d %d %d %d", &count, &rate, &function, &address, &words, &unit) == 6) {
        uint8_t request[6] = {unit, function, address >> 8, address, words >> 8, words};
        modbus_set_slave(context, unit);
        double due_us = now_us();
        for (int at = 0; at < count; at++, due_us += 1e6 / rate) {
            sleep_until_us(due_us);
            printf("%.0f ", ask(context, terminal, request, words));
        }
        printf("\n");
        fflush(stdout);
    }
    return 0;
}
