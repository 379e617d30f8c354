#include "core/control_code.h"

#include <stddef.h>

const char *
control_code_call(uint32_t code)
{
    switch ((int)code) {
#define X(name, number)                                                                            \
    case CODE_##name:                                                                              \
        return "WSAIoctl(" #name ")";
        CONTROL_CODES(X)
#undef X
    default:
        return NULL;
    }
}
