// SPDX-License-Identifier: Apache-2.0
// Carries the precompiled headers that all light rooms share; has no code of its own.
