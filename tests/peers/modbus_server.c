/* A unit made with libmodbus, for the tests: `modbus_server rtu PATH UNIT` or `modbus_server tcp PORT`.
 *
 * It has 200 of each: holding registers that hold their address, input registers that hold their
 * address plus 1000, coils that are set where 3 divides the address, discrete inputs where 2 does.
 * It says "ready" once it listens, and ends when its terminal is gone or it is killed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <modbus.h>

#define COUNT 200

static modbus_mapping_t *make_mapping(void)
{
    modbus_mapping_t *mapping = modbus_mapping_new(COUNT, COUNT, COUNT, COUNT);
    if (mapping == NULL)
        return NULL;
    for (int at = 0; at < COUNT; at++) {
        mapping->tab_bits[at] = at % 3 == 0;
        mapping->tab_input_bits[at] = at % 2 == 0;
        mapping->tab_registers[at] = (uint16_t) at;
        mapping->tab_input_registers[at] = (uint16_t) (at + 1000);
    }
    return mapping;
}

/* Answers until the connection ends; for a serial line that is for ever. */
static void answer(modbus_t *context, modbus_mapping_t *mapping, int is_serial)
{
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    for (;;) {
        int length = modbus_receive(context, query);
        if (length > 0)
            modbus_reply(context, query, length, mapping);
        else if (length < 0 && !is_serial)
            return;
        else if (length < 0 && (errno == EIO || errno == EBADF))
            exit(0); /* The terminal is gone. */
    }
}

static int serve_serial(const char *path, int unit, modbus_mapping_t *mapping)
{
    modbus_t *context = modbus_new_rtu(path, 115200, 'N', 8, 1);
    if (context == NULL || modbus_set_slave(context, unit) < 0 || modbus_connect(context) < 0) {
        fprintf(stderr, "%s: %s\n", path, modbus_strerror(errno));
        return 1;
    }
    puts("ready");
    fflush(stdout);
    answer(context, mapping, 1);
    return 0;
}

static int serve_tcp(int port, modbus_mapping_t *mapping)
{
    modbus_t *context = modbus_new_tcp("127.0.0.1", port);
    int listening = context == NULL ? -1 : modbus_tcp_listen(context, 1);
    if (listening < 0) {
        fprintf(stderr, "port %d: %s\n", port, modbus_strerror(errno));
        return 1;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        if (modbus_tcp_accept(context, &listening) >= 0)
            answer(context, mapping, 0);
        modbus_close(context);
    }
}

int main(int count, char **arguments)
{
    modbus_mapping_t *mapping = make_mapping();
    if (mapping != NULL && count == 4 && strcmp(arguments[1], "rtu") == 0)
        return serve_serial(arguments[2], atoi(arguments[3]), mapping);
    if (mapping != NULL && count == 3 && strcmp(arguments[1], "tcp") == 0)
        return serve_tcp(atoi(arguments[2]), mapping);
    fprintf(stderr, "usage: modbus_server rtu PATH UNIT | modbus_server tcp PORT\n");
    return 2;
}
