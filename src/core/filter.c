#include "core/filter.h"

#include <stdlib.h>
#include <string.h>

/* An instruction's code is a class and, depending on it, a size and a mode, or an operation and an
 * operand. */
enum {
    CLASS_LD = 0x00,
    CLASS_LDX = 0x01,
    CLASS_ST = 0x02,
    CLASS_STX = 0x03,
    CLASS_ALU = 0x04,
    CLASS_JMP = 0x05,
    CLASS_RET = 0x06,
    CLASS_MISC = 0x07,
    CLASS_MASK = 0x07,

    SIZE_WORD = 0x00,
    SIZE_HALF = 0x08,
    SIZE_BYTE = 0x10,

    MODE_IMMEDIATE = 0x00,
    MODE_ABSOLUTE = 0x20,
    MODE_INDEXED = 0x40,
    MODE_MEMORY = 0x60,
    MODE_LENGTH = 0x80,
    MODE_HEADER = 0xA0, /* 4 * (byte & 15): the length of an IPv4 header */

    OPERAND_X = 0x08,

    ALU_ADD = 0x00,
    ALU_SUB = 0x10,
    ALU_MUL = 0x20,
    ALU_DIV = 0x30,
    ALU_OR = 0x40,
    ALU_AND = 0x50,
    ALU_LSH = 0x60,
    ALU_RSH = 0x70,
    ALU_NEG = 0x80,
    ALU_MOD = 0x90,
    ALU_XOR = 0xA0,

    JMP_ALWAYS = 0x00,
    JMP_EQUAL = 0x10,
    JMP_GREATER = 0x20,
    JMP_GREATER_EQUAL = 0x30,
    JMP_ANY_BIT = 0x40,

    RET_A = 0x10,
    MISC_X_TO_A = 0x80,
};

#define MEMORY_WORDS 16

filter_t *
filter_new(const filter_instruction_t *instructions, size_t count)
{
    filter_t *self = malloc(sizeof *self + count * sizeof instructions[0]);
    if (self != NULL) {
        self->count = count;
        self->reads_length = false;
        for (size_t i = 0; i < count; i++) {
            self->reads_length |= instructions[i].code == (CLASS_LD | MODE_LENGTH) ||
                                  instructions[i].code == (CLASS_LDX | MODE_LENGTH);
        }
        memcpy(self->instructions, instructions, count * sizeof instructions[0]);
    }
    return self;
}

static bool
is_known(uint16_t code)
{
    switch (code) {
    case CLASS_LD | SIZE_WORD | MODE_ABSOLUTE:
    case CLASS_LD | SIZE_HALF | MODE_ABSOLUTE:
    case CLASS_LD | SIZE_BYTE | MODE_ABSOLUTE:
    case CLASS_LD | SIZE_WORD | MODE_INDEXED:
    case CLASS_LD | SIZE_HALF | MODE_INDEXED:
    case CLASS_LD | SIZE_BYTE | MODE_INDEXED:
    case CLASS_LD | MODE_IMMEDIATE:
    case CLASS_LD | MODE_MEMORY:
    case CLASS_LD | MODE_LENGTH:
    case CLASS_LDX | MODE_IMMEDIATE:
    case CLASS_LDX | MODE_MEMORY:
    case CLASS_LDX | MODE_LENGTH:
    case CLASS_LDX | SIZE_BYTE | MODE_HEADER:
    case CLASS_ST:
    case CLASS_STX:
    case CLASS_RET:
    case CLASS_RET | RET_A:
    case CLASS_MISC:
    case CLASS_MISC | MISC_X_TO_A:
    case CLASS_ALU | ALU_NEG:
    case CLASS_JMP | JMP_ALWAYS:
        return true;
    }
    uint16_t operation = code & 0xF0;
    if ((code & CLASS_MASK) == CLASS_ALU) {
        return operation <= ALU_XOR && operation != ALU_NEG && code <= 0xFF;
    }
    return (code & CLASS_MASK) == CLASS_JMP && operation >= JMP_EQUAL && operation <= JMP_ANY_BIT &&
           code <= 0xFF;
}

static const char *
check_instruction(const filter_instruction_t *instruction, size_t behind)
{
    uint16_t code = instruction->code;
    if (!is_known(code)) {
        return "the instruction is unknown";
    }
    if ((code & CLASS_MASK) == CLASS_JMP) {
        bool inside = code == (CLASS_JMP | JMP_ALWAYS)
                          ? instruction->k < behind
                          : instruction->jump_true < behind && instruction->jump_false < behind;
        return inside ? NULL : "it jumps behind the end";
    }
    if ((code == (CLASS_ALU | ALU_DIV) || code == (CLASS_ALU | ALU_MOD)) && instruction->k == 0) {
        return "it divides by 0";
    }
    bool shifts = code == (CLASS_ALU | ALU_LSH) || code == (CLASS_ALU | ALU_RSH);
    if (shifts && instruction->k >= 32) {
        return "it shifts by more than 31 bits";
    }
    bool uses_memory = code == CLASS_ST || code == CLASS_STX || code == (CLASS_LD | MODE_MEMORY) ||
                       code == (CLASS_LDX | MODE_MEMORY);
    return uses_memory && instruction->k >= MEMORY_WORDS ? "there are memory words 0 to 15" : NULL;
}

const char *
filter_check(const filter_instruction_t *instructions, size_t count, size_t *where)
{
    *where = 0;
    if (count == 0 || count > FILTER_LONGEST) {
        return "a program has 1 to 4096 instructions";
    }
    for (size_t i = 0; i < count; i++) {
        *where = i;
        const char *wrong = check_instruction(&instructions[i], count - i - 1);
        if (wrong != NULL) {
            return wrong;
        }
    }
    return (instructions[count - 1].code & CLASS_MASK) == CLASS_RET ? NULL
                                                                    : "the last one must return";
}

typedef struct {
    const uint8_t *bytes;
    uint32_t captured;
    uint32_t length;
    uint32_t a;
    uint32_t x;
    uint32_t memory[MEMORY_WORDS];
} machine_t;

static bool
load_bytes(const machine_t *machine, uint16_t size, uint64_t offset, uint32_t *value)
{
    uint32_t count = size == SIZE_WORD ? 4 : size == SIZE_HALF ? 2 : 1;
    if (offset > machine->captured || count > machine->captured - offset) {
        return false;
    }
    *value = 0;
    for (uint32_t i = 0; i < count; i++) {
        *value = *value << 8 | machine->bytes[offset + i];
    }
    return true;
}

static bool
load(machine_t *machine, const filter_instruction_t *instruction)
{
    uint16_t size = instruction->code & 0x18;
    switch (instruction->code & 0xE0) {
    case MODE_ABSOLUTE:
        return load_bytes(machine, size, instruction->k, &machine->a);
    case MODE_INDEXED:
        return load_bytes(machine, size, (uint64_t)machine->x + instruction->k, &machine->a);
    case MODE_MEMORY:
        machine->a = machine->memory[instruction->k];
        return true;
    case MODE_LENGTH:
        machine->a = machine->length;
        return true;
    default:
        machine->a = instruction->k;
        return true;
    }
}

static bool
load_x(machine_t *machine, const filter_instruction_t *instruction)
{
    switch (instruction->code & 0xE0) {
    case MODE_HEADER: {
        uint32_t byte;
        if (!load_bytes(machine, SIZE_BYTE, instruction->k, &byte)) {
            return false;
        }
        machine->x = 4 * (byte & 15);
        return true;
    }
    case MODE_MEMORY:
        machine->x = machine->memory[instruction->k];
        return true;
    case MODE_LENGTH:
        machine->x = machine->length;
        return true;
    default:
        machine->x = instruction->k;
        return true;
    }
}

/* False for a division by 0, which refuses the datagram. */
static bool
calculate(machine_t *machine, uint16_t operation, uint32_t operand)
{
    switch (operation) {
    case ALU_ADD:
        machine->a += operand;
        return true;
    case ALU_SUB:
        machine->a -= operand;
        return true;
    case ALU_MUL:
        machine->a *= operand;
        return true;
    case ALU_DIV:
        machine->a = operand == 0 ? 0 : machine->a / operand;
        return operand != 0;
    case ALU_MOD:
        machine->a = operand == 0 ? 0 : machine->a % operand;
        return operand != 0;
    case ALU_OR:
        machine->a |= operand;
        return true;
    case ALU_AND:
        machine->a &= operand;
        return true;
    case ALU_XOR:
        machine->a ^= operand;
        return true;
    case ALU_LSH:
        machine->a = operand < 32 ? machine->a << operand : 0;
        return true;
    case ALU_RSH:
        machine->a = operand < 32 ? machine->a >> operand : 0;
        return true;
    default:
        machine->a = 0 - machine->a;
        return true;
    }
}

static bool
is_true(uint16_t operation, uint32_t a, uint32_t operand)
{
    switch (operation) {
    case JMP_EQUAL:
        return a == operand;
    case JMP_GREATER:
        return a > operand;
    case JMP_GREATER_EQUAL:
        return a >= operand;
    default:
        return (a & operand) != 0;
    }
}

uint32_t
filter_run(const filter_t *filter, const uint8_t *bytes, uint32_t captured, uint32_t length)
{
    machine_t machine = {.bytes = bytes, .captured = captured, .length = length};
    const filter_instruction_t *instruction = filter->instructions;
    for (;; instruction++) {
        uint16_t code = instruction->code;
        uint16_t operation = code & 0xF0;
        uint32_t operand = code & OPERAND_X ? machine.x : instruction->k;
        bool goes_on = true;
        switch (code & CLASS_MASK) {
        case CLASS_LD:
            goes_on = load(&machine, instruction);
            break;
        case CLASS_LDX:
            goes_on = load_x(&machine, instruction);
            break;
        case CLASS_ST:
            machine.memory[instruction->k] = machine.a;
            break;
        case CLASS_STX:
            machine.memory[instruction->k] = machine.x;
            break;
        case CLASS_ALU:
            goes_on = calculate(&machine, operation, operand);
            break;
        case CLASS_JMP:
            instruction += operation == JMP_ALWAYS                  ? instruction->k
                           : is_true(operation, machine.a, operand) ? instruction->jump_true
                                                                    : instruction->jump_false;
            break;
        case CLASS_RET:
            return code & RET_A ? machine.a : instruction->k;
        default:
            if (code & MISC_X_TO_A) {
                machine.a = machine.x;
            } else {
                machine.x = machine.a;
            }
        }
        if (!goes_on) {
            return 0;
        }
    }
}
