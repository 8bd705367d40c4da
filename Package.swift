// swift-tools-version: 6.2

import PackageDescription

/// Every target is compiled with the same settings: what a file imports stays internal to it unless it says
/// otherwise (SE-0409), members come only from modules that the file imports (SE-0444), and existentials are
/// spelled `any` (SE-0335).
let settings: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let nioCore: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1: Target.Dependency = .product(name: "NIOHTTP1", package: "swift-nio")
let nioEmbedded: Target.Dependency = .product(name: "NIOEmbedded", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")

/// A target of one layer: `Sources/<layer>/<name>`. Dependencies point downward only (docs/architecture.md).
func module(
    _ layer: String, _ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource]? = nil
) -> Target {
    .target(
        name: name, dependencies: dependencies, path: "Sources/\(layer)/\(name)", resources: resources,
        swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency], exclude: [String] = []) -> Target {
    .testTarget(
        name: name, dependencies: dependencies, path: "Tests/\(name)", exclude: exclude, swiftSettings: settings)
}

let package = Package(
    name: "starling",
    platforms: [.macOS(.v26)],
    products: [
        .executable(name: "starling", targets: ["starling"]),
        .library(name: "StarlingClient", targets: ["StarlingClient"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.14.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-configuration", from: "1.4.0", traits: []),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.34.1"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0", traits: []),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.0", traits: []),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.0"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.0"),
    ],
    targets: [
        // C: libraries of the system.
        .systemLibrary(
            name: "CZlib", path: "Sources/C/CZlib", pkgConfig: "zlib",
            providers: [.apt(["zlib1g-dev"]), .brew(["zlib"])]),

        .systemLibrary(name: "CSQLiteSettings", path: "Sources/C/CSQLiteSettings"),

        // Core: values and state machines. No I/O, no clock, no Foundation, no async.
        module("Core", "Registers"),
        module("Core", "Access", ["Registers"]),
        module("Core", "WebSocket", ["CZlib", nioCore]),
        module("Core", "SyncProtocol", ["Registers", nioCore]),
        module("Core", "SyncEngine", ["Registers", "Access", "SyncProtocol", nioCore]),

        module("Core", "Agents", ["Registers", "Access", "SyncProtocol", "SyncEngine", nioCore]),

        module("Core", "ModelContext", ["Registers", "SyncProtocol", "Agents", nioCore]),

        // IO: one kind of I/O each.
        module(
            "IO", "SQLiteStore",
            [
                "Registers", "Access", "SyncProtocol", "SyncEngine", "CSQLiteSettings", nioCore, crypto,
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
            ]),
        module("IO", "Loops", ["Registers", "Access", "SyncProtocol", "SyncEngine", nioCore]),
        module(
            "IO", "Transport",
            [
                "Registers", "Access", "WebSocket", "SyncProtocol", "SyncEngine", "Loops", nioCore, nioPosix, nioSSL,
                logging,
            ]),
        module("IO", "Follower", ["Registers", "Access", "SyncProtocol", "Loops", nioCore]),
        module(
            "IO", "SearchIndex",
            [
                "Registers", "Access", "SyncProtocol", "Agents", "Follower",
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
            ]),
        module("IO", "SyncClient", ["WebSocket", nioCore, nioPosix, nioHTTP1, nioSSL]),
        module("IO", "LoadGenerator", ["SyncClient", nioCore, nioPosix]),

        // A client for programs in Swift: clients/README.md
        .target(
            name: "StarlingClient",
            dependencies: ["Registers", "SyncProtocol", "SyncClient", nioCore, nioPosix, logging],
            path: "clients/swift/Sources/StarlingClient", swiftSettings: settings),

        .executableTarget(
            name: "mirror",
            dependencies: [
                "StarlingClient", .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "clients/swift/Examples/Mirror", swiftSettings: settings),
        .executableTarget(
            name: "client-throughput", dependencies: ["StarlingClient"], path: "clients/throughput/Swift",
            swiftSettings: settings),
        .executableTarget(
            name: "convergence-driver", dependencies: ["StarlingClient", logging], path: "clients/convergence/Driver",
            swiftSettings: settings),

        // Server: where the rooms meet.
        module(
            "Server", "StarlingServer",
            [
                "Registers", "Access", "WebSocket", "SyncProtocol", "SyncEngine", "Agents", "ModelContext",
                "SQLiteStore",
                "Loops",
                "Follower", "SearchIndex", "Transport", nioCore, nioPosix, nioHTTP1, logging,
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "JWTKit", package: "jwt-kit"), nioSSL, crypto,
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
            ], resources: [.embedInCode("REST/openapi.json")]),
        .executableTarget(
            name: "starling",
            dependencies: [
                "StarlingServer", "SQLiteStore", "SearchIndex", "SyncClient", "LoadGenerator", "SyncEngine",
                "ModelContext",
                "SyncProtocol",
                "Registers", "Agents",
                "Access", "Loops", "Transport", "WebSocket",
                nioCore, nioPosix, logging,
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "Configuration", package: "swift-configuration"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
            ],
            path: "Sources/Server/starling",
            swiftSettings: settings),

        // One folder of tests a module, and then those of the whole.
        .target(name: "TestSupport", path: "Tests/TestSupport", swiftSettings: settings),
        tests("RegistersTests", ["Registers", "TestSupport"]),
        tests(
            "AgentsTests",
            ["Agents", "SyncEngine", "SyncProtocol", "Access", "Registers", "Simulation", "TestSupport", nioCore]),
        tests(
            "ModelContextTests", ["ModelContext", "Agents", "SyncProtocol", "Registers", "TestSupport", nioCore]),
        tests(
            "SearchIndexTests", ["SearchIndex", "Follower", "Agents", "SyncProtocol", "Registers", "TestSupport"]),
        tests("AccessTests", ["Access", "Registers", "TestSupport"]),
        tests("WebSocketTests", ["WebSocket", "TestSupport", nioCore]),
        tests("SyncProtocolTests", ["SyncProtocol", "Registers", "TestSupport", nioCore]),
        tests(
            "SQLiteStoreTests",
            [
                "SQLiteStore", "Access", "SyncEngine", "SyncProtocol", "Registers", "TestSupport", nioCore,
                .product(name: "GRDB", package: "GRDB.swift"),
            ]),
        tests(
            "TransportTests",
            [
                "Transport", "Loops", "WebSocket", "Access", "Registers", "SyncProtocol", "SyncEngine", "Simulation",
                "TestSupport", nioCore, nioEmbedded, logging,
            ]),
        tests(
            "LoopsTests",
            ["Loops", "Access", "SyncEngine", "SyncProtocol", "WebSocket", "TestSupport", nioCore, nioEmbedded]),
        tests(
            "StarlingServerTests",
            [
                "StarlingServer", "SyncEngine", "SyncProtocol", "Registers", "TestSupport", nioCore,
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Hummingbird", package: "hummingbird"),
            ]),
        tests(
            "ConformanceTests",
            [
                "starling", "StarlingClient", "StarlingServer", "SQLiteStore", "SyncClient", "SyncEngine",
                "SyncProtocol",
                "Access", "Registers", "WebSocket", "TestSupport", nioCore, crypto,
                .product(name: "JWTKit", package: "jwt-kit"),
            ], exclude: ["Help", "Certificates", "Hooks"]),
        tests("TidyTests", ["SyncProtocol", "TestSupport"]),
        tests(
            "SyncEngineTests",
            ["SyncEngine", "Access", "SyncProtocol", "Registers", "Simulation", "TestSupport", nioCore]),

        // A whole system in one thread, under a seed: Tests/Simulation/README.md
        .target(
            name: "Simulation",
            dependencies: [
                "Transport", "Agents", "SyncEngine", "SyncProtocol", "Access", "Registers", "TestSupport", nioCore,
            ],
            path: "Tests/Simulation/Harness", swiftSettings: settings),
        .target(
            name: "StoreSimulation",
            dependencies: ["SQLiteStore", "SyncEngine", "SyncProtocol", "Access", "Registers", "TestSupport", nioCore],
            path: "Tests/Simulation/Store", swiftSettings: settings),
        .executableTarget(
            name: "simulate", dependencies: ["Simulation", "StoreSimulation"], path: "Tests/Simulation/Runner",
            swiftSettings: settings),
        // What strangers' bytes reach: Fuzzing/README.md
        .target(
            name: "FuzzTargets",
            dependencies: [
                "StarlingServer", "WebSocket", "SyncProtocol", "Registers", "Access", "Agents", "ModelContext", nioCore,
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            path: "Fuzzing/Targets", swiftSettings: settings),
        tests("StarlingClientTests", ["StarlingClient", "SyncProtocol", "Registers", "TestSupport"]),
        tests("LoadGeneratorTests", ["LoadGenerator", "TestSupport"]),
        tests("FuzzTests", ["FuzzTargets", "TestSupport"]),
        .testTarget(
            name: "SimulationTests", dependencies: ["Simulation", "StoreSimulation"], path: "Tests/Simulation/Tests",
            swiftSettings: settings),
    ],
    swiftLanguageModes: [.v6]
)

// The fuzzer's own main function is in its run-time library, which only a build for it has.
if Context.environment["FUZZ"] != nil {
    package.targets.append(
        .executableTarget(
            name: "fuzz", dependencies: ["FuzzTargets"], path: "Fuzzing/LibFuzzer",
            swiftSettings: settings + [.unsafeFlags(["-parse-as-library"])]))
}

// Of use to those who work on the code, and a dependency that nobody else should have to fetch: Benchmarks/README.md
if Context.environment["BENCHMARKS"] != nil {
    package.dependencies.append(
        .package(url: "https://github.com/ordo-one/benchmark", from: "1.38.1", traits: []))
    package.targets.append(
        .executableTarget(
            name: "Micro",
            dependencies: [
                "Registers", "Access", "WebSocket", "SyncProtocol", "SyncEngine", "Simulation", nioCore,
                .product(name: "Benchmark", package: "benchmark"),
            ],
            path: "Benchmarks/Micro", swiftSettings: settings,
            plugins: [.plugin(name: "BenchmarkPlugin", package: "benchmark")]))
}
