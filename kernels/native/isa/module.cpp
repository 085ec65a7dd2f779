// The kernels compiled for one instruction set, as an extension module that exports nothing but a capsule
// with their table. All files of this folder are compiled once for each instruction set, with its flags and
// its name as ISA; dense_bf16.cpp and this one also with AVX512_BF16, as a module of their own.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "isa/table.hpp"

#define AS_STRING_(x) #x
#define AS_STRING(x) AS_STRING_(x)
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define MODULE_NAME "fastnn.kernels.isa_" AS_STRING(ISA)

#if defined(__AVX512BF16__)
constexpr auto MAKE_TABLE = fastnn::make_bf16_table;
#else
constexpr auto MAKE_TABLE = fastnn::make_table;
#endif

PyMODINIT_FUNC JOIN(PyInit_isa_, ISA)() {
    static PyModuleDef definition = {PyModuleDef_HEAD_INIT, MODULE_NAME, nullptr, -1, nullptr,
                                     nullptr, nullptr, nullptr, nullptr};
    static fastnn::Table table = MAKE_TABLE(AS_STRING(ISA));
    PyObject *module = PyModule_Create(&definition);
    if (!module) return nullptr;
#if defined(Py_GIL_DISABLED)
    PyUnstable_Module_SetGIL(module, Py_MOD_GIL_NOT_USED);
#endif
    PyObject *capsule = PyCapsule_New(&table, MODULE_NAME ".table", nullptr);
    if (PyModule_AddObjectRef(module, "table", capsule) < 0) {
        Py_XDECREF(capsule);
        Py_DECREF(module);
        return nullptr;
    }
    Py_DECREF(capsule);
    return module;
}
