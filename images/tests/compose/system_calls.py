"""Tries system calls by number (x86-64) and prints what each met, as JSON: {"name": "EPERM"}, or "allowed"."""
import ctypes
import errno
import json
import os
import socket

libc = ctypes.CDLL(None, use_errno=True)
new_user, thread_flags = 0x10000000, 0x11

# Arguments that do no harm where the call is let through: nothing is there that they name.
calls = {
    "acct": (163, b"/nowhere"),
    "add_key": (248, None, None, None, 0, -3),
    "bpf": (321, 0, None, 0),
    "chroot": (161, b"/nowhere"),
    "clone(CLONE_NEWUSER)": (56, new_user | thread_flags, 0, 0, 0, 0),
    "delete_module": (176, b"nothing", 0),
    "finit_module": (313, -1, b"", 0),
    "init_module": (175, None, 0, b""),
    "io_uring_setup": (425, 1, None),
    "kexec_load": (246, 0, 0, None, 0),
    "keyctl": (250, 0, -3, 0),
    "mount": (165, b"none", b"/nowhere", b"tmpfs", 0, None),
    "name_to_handle_at": (303, -100, b"/nowhere", None, None, 0),
    "open_by_handle_at": (304, -1, None, 0),
    "open_tree": (428, -1, b"/nowhere", 0),
    "perf_event_open": (298, None, 0, -1, -1, 0),
    "pidfd_getfd": (438, -1, -1, 0),
    "pivot_root": (155, b"/nowhere", b"/nowhere"),
    "process_vm_readv": (310, os.getpid(), None, 0, None, 0, 0),
    "process_vm_writev": (311, os.getpid(), None, 0, None, 0, 0),
    "ptrace": (101, 16, 0, 0, 0),
    "quotactl": (179, 0x800000 << 8, None, 0, None),
    "reboot": (169, 0, 0, 0, None),
    "request_key": (249, b"user", b"nothing", None, 0),
    "setns": (308, -1, 0),
    "settimeofday": (164, None, None),
    "swapon": (167, b"/nowhere", 0),
    "umount2": (166, b"/nowhere", 0),
    "unshare(CLONE_NEWUSER)": (272, new_user),
    "userfaultfd": (323, 1),
}
sockets = {"AF_ALG": 38, "AF_PACKET": 17, "AF_VSOCK": 40, "AF_NETLINK audit": (16, 3, 9), "AF_BLUETOOTH": 31, "AF_KEY": 15}


def met(call):
    # In a child: what a call does to its process ends with it.
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, call().encode())
        finally:
            os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        return pipe.read()


def system_call(number, *arguments):
    made_by = os.getpid()
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(one) if isinstance(one, int) else one for one in arguments])
    if os.getpid() != made_by:
        os._exit(0)
    return errno.errorcode[ctypes.get_errno()] if result == -1 else "allowed"


def new_socket(family, kind=socket.SOCK_DGRAM, protocol=0):
    try:
        socket.socket(family, kind, protocol).close()
        return "allowed"
    except OSError as error:
        return errno.errorcode[error.errno]


result = {name: met(lambda: system_call(*call)) for name, call in calls.items()}
for name, family in sockets.items():
    result["socket " + name] = met(lambda: new_socket(*(family if isinstance(family, tuple) else (family,))))
print(json.dumps(result))
