/* A client made with libmodbus, for bench_bus.py: `modbus_client PATH READS`.
 *
 * It reads 40 holding registers of unit 1 over and over, and prints CPU per read and the median and
 * 99th percentile of the time that a read takes, in microseconds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include <modbus.h>

static double now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static double cpu_us(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec * 1e6 + used.tv_nsec / 1e3;
}

static int compare(const void *one, const void *other)
{
    double difference = *(const double *) one - *(const double *) other;
    return (difference > 0) - (difference < 0);
}

int main(int count, char **arguments)
{
    int reads = count == 3 ? atoi(arguments[2]) : 0;
    modbus_t *context = reads > 0 ? modbus_new_rtu(arguments[1], 115200, 'N', 8, 1) : NULL;
    double *took_us = calloc(reads > 0 ? reads : 1, sizeof *took_us);
    uint16_t words[40];
    if (context == NULL || took_us == NULL || modbus_set_slave(context, 1) < 0
        || modbus_connect(context) < 0)
        return 1;
    modbus_set_response_timeout(context, 2, 0);
    double began_us = cpu_us();
    for (int at = 0; at < reads; at++) {
        double sent_us = now_us();
        if (modbus_read_registers(context, 0, 40, words) != 40)
            return 1;
        took_us[at] = now_us() - sent_us;
    }
    double each_us = (cpu_us() - began_us) / reads;
    qsort(took_us, reads, sizeof *took_us, compare);
    printf("%f %f %f\n", each_us, took_us[reads / 2], took_us[(int) (reads * 0.99)]);
    return 0;
}
