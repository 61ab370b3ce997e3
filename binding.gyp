# SPDX-License-Identifier: Apache-2.0
{
  # Two things are built from one core: the addon (pars.node) and the jailed reader (pars-reader). With
  # tests=1 (scripts/build-native --tests) the core's and the jail's own tests as well, which need more
  # packages. pars-watch, which tells of finished saves, needs nothing of it.
  "variables": { "tests%": 0 },
  # -Wno-restrict: GCC 12 warns of what std::string does (its bug 105651); Clang knows no such warning and
  # would say so.
  "target_defaults": {
    "cflags_cc!": ["-fno-exceptions", "-std=gnu++17", "-fno-rtti"],
    # What a hostile image may find wrong in the parsers is to end the process, not to be used.
    "cflags": ["-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3",
               "-D_GLIBCXX_ASSERTIONS"],
    "conditions": [["tests==1", { "cflags_cc": ["-Werror"] }]],
    "cflags_cc": ["-std=c++20", "-O3", "-Wall", "-Wextra", "-Werror=return-type",
                  "-Wno-unknown-warning-option", "-Wno-restrict", "-fno-strict-aliasing"],
    "include_dirs": ["native"]
  },
  "targets": [
    {
      "target_name": "core",
      "type": "static_library",
      "sources": ["<!@(scripts/core-units)"],
      "cflags": ["-fPIC"]
    },
    {
      "target_name": "pars",
      "dependencies": ["core"],
      "include_dirs": ["<!(node -p \"require('node-addon-api').include_dir\")"],
      "defines": ["NAPI_VERSION=8", "NODE_ADDON_API_DISABLE_DEPRECATED",
                  "NAPI_DISABLE_CPP_EXCEPTIONS", "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"],
      "sources": ["<!@(ls native/addon/*.cc)"],
      "libraries": ["-lzstd", "-lxxhash", "-lpugixml", "-lisal", "-lcrypto"]
    },
    {
      "target_name": "pars-reader",
      "type": "executable",
      "dependencies": ["core"],
      "sources": ["<!@(ls native/reader/*.cc)"],
      "cflags": ["-fPIE"],
      "ldflags": ["-pie", "-Wl,-z,relro,-z,now"],
      "libraries": ["-lzstd", "-lxxhash", "-lpugixml", "-lcrypto", "-lpthread"]
    },
    {
      "target_name": "pars-watch",
      "type": "executable",
      "sources": ["<!@(ls native/watch/*.cc)"]
    }
  ],
  "conditions": [
    ["tests==1", {
      "targets": [
        {
          "target_name": "core-test",
          "type": "executable",
          # They take half the time to compile, and the core that they try is optimised as it is shipped.
          "cflags_cc!": ["-O3"],
          "cflags_cc": ["-O1"],
          "dependencies": ["core"],
          "include_dirs": ["test/native"],
          "sources": ["<!@(ls test/native/*.cc test/native/guest/*.cc)"],
          "libraries": ["-lzstd", "-lxxhash", "-lpugixml", "-lcrypto", "-lpthread"]
        },
        {
          "target_name": "layout-probe",
          "type": "executable",
          "dependencies": ["core"],
          "sources": ["<!@(ls test/native/layout/*.cc)"],
          "libraries": ["-lzstd", "-lxxhash", "-lpugixml", "-lcrypto", "-lpthread"]
        },
        {
          "target_name": "jail-test",
          "type": "executable",
          "sources": ["native/reader/jail.cc", "<!@(ls test/native/jail/*.cc)"],
          "libraries": ["-lpthread"]
        }
      ]
    }]
  ]
}
