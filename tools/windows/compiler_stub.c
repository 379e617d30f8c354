/* cl.exe and link.exe: the compiler behind them is msvc.py at 127.0.0.1:%WINSOCKCTL_COMPILER%.
 *
 * There: the program's name, the current folder and the arguments, each ended by a zero byte, then
 * the end of the stream. Back: the exit status as one byte, then what the compiler printed.
 */
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>

#define NO_ANSWER 125

static void
give_up(const char *what)
{
    fprintf(stderr, "%s: error %d\n", what, WSAGetLastError());
    exit(NO_ANSWER);
}

static SOCKET
connect_compiler(void)
{
    const char *port = getenv("WINSOCKCTL_COMPILER");
    WSADATA data;
    if (port == NULL || WSAStartup(MAKEWORD(2, 2), &data) != 0) {
        give_up("WINSOCKCTL_COMPILER");
    }
    SOCKET compiler = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    struct sockaddr_in address = {
        .sin_family = AF_INET,
        .sin_port = htons((u_short)atoi(port)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    if (connect(compiler, (struct sockaddr *)&address, sizeof address) != 0) {
        give_up("connect");
    }
    return compiler;
}

static void
send_text(SOCKET compiler, const wchar_t *text)
{
    char utf8[8 * MAX_PATH];
    int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, utf8, sizeof utf8, NULL, NULL);
    if (size == 0 || send(compiler, utf8, size, 0) != size) {
        give_up("send");
    }
}

int
wmain(int count, wchar_t **arguments)
{
    SOCKET compiler = connect_compiler();
    wchar_t path[MAX_PATH];
    GetModuleFileNameW(NULL, path, MAX_PATH);
    send_text(compiler, wcsrchr(path, L'\\') + 1);
    GetCurrentDirectoryW(MAX_PATH, path);
    send_text(compiler, path);
    for (int i = 1; i < count; i++) {
        send_text(compiler, arguments[i]);
    }
    shutdown(compiler, SD_SEND);

    unsigned char status;
    if (recv(compiler, (char *)&status, 1, 0) != 1) {
        give_up("recv");
    }
    char output[4096];
    for (int size; (size = recv(compiler, output, sizeof output, 0)) > 0;) {
        fwrite(output, 1, (size_t)size, stdout);
    }
    return status;
}
